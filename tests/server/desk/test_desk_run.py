"""The page of a real `meter run`: it is there, live, logs no query, and costs no other command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import yaml

from acceptance.packages import unpacked
from acceptance.process import Meter, pipelines, wait_until
from meter.config import load_config
from meter.plugins import load_plugins
from server.conftest import INGEST, fact, post_events
from server.desk.reading import read

SECRET = "adm1n-s3cret-of-a-real-run"
DOCS = Path(__file__).parents[3] / "docs"


def test_a_real_run_serves_the_page_and_what_hangs_does_not_delay_it(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "site", packages=unpacked(tmp_path / "packages"))
    (meter.folder / "mood").write_text("hanging")
    meter.configure(
        pipelines(
            collectors={"apps": {"type": "ingest", "secret": INGEST}},
            sinks={"odd": {"type": "stranger", "path": "out", "mood": "mood"}},
            server={"admin_secret": SECRET},
        )
    ).start()
    try:
        post_events(meter, fact(1), fact(2))
        with httpx.Client(base_url=meter.url, trust_env=False, timeout=30) as client:
            assert client.get("/desk/customer?id=s3cret-customer").status_code == 303
            client.post("/desk/login", data={"secret": "wr0ng-s3cret", "name": "Dana"})
            client.post("/desk/login", data={"secret": SECRET, "name": "Dana"})
            wait_until(lambda: client.get("/").text.count("Acme &amp; Söhne") == 1)
            wait_until(lambda: 'class="state working"' in client.get("/").text)
            page = read(client.get("/").text)
            assert page.one("dd", data_figure="recorded").text == "2"
            found = client.get("/desk/search?q=job-1", follow_redirects=True)
            assert "assemblyai:transcript:job-1" in found.text
            assert client.get("/metrics", headers={"authorization": f"Bearer {SECRET}"}).is_success
        log = meter.log.read_text()
        for secret in (SECRET, "wr0ng-s3cret", "s3cret-customer", "job-1", "?"):
            assert secret not in log, secret
        assert [line["who"] for line in meter.logs("desk.signed_in")] == ["Dana"]
        assert meter.stop() == 0
    finally:
        meter.kill()


def test_no_command_pays_for_the_page_and_a_run_only_when_somebody_looks() -> None:
    code = (
        "import sys, meter.cli, meter.cli.status, meter.server.running, meter.server.desk;"
        "print([m for m in sys.modules if m.startswith(('jinja2', 'markupsafe'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_file_that_the_docs_show_is_correct(tmp_path: Path) -> None:
    text = (DOCS / "page.md").read_text()
    block = text.split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "pipelines.yaml"
    path.write_text(yaml.safe_dump(pipelines(collectors={"a": {"type": "ingest", "secret": "s"}})))
    whole = yaml.safe_load(path.read_text()) | yaml.safe_load(block)
    path.write_text(yaml.safe_dump(whole))
    config = load_config(path, load_plugins(), environ={"METER_ADMIN_SECRET": "x"})
    assert config.server.admin_secret is not None


def test_the_script_that_the_docs_name_takes_the_pictures_that_they_show() -> None:
    text = (DOCS / "page.md").read_text()
    script = text.split("```sh\n")[1].split("```")[0].split()[-1]
    source = (DOCS.parent / script).read_text()
    for picture in (DOCS / "screenshots").glob("*.png"):
        assert f'("{picture.stem}", ' in source
        assert f"(screenshots/{picture.name})" in text
        assert picture.stat().st_size < 200_000

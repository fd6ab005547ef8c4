from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from meter.recording import spool as spool_module
from meter.recording.spool import Spool
from meter.recording.spool_file import SpoolFile
from recording.conftest import Recording
from recording.ingest import Ingest
from recording.streams import begin, termination


def item(number: int, size: int = 0) -> bytes:
    return json.dumps(
        {"message": {"n": number}, "session_id": f"s{number}", "x": "x" * size}
    ).encode()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def test_items_come_back_in_order_after_a_crash_less_those_that_were_delivered(
    tmp_path: Path,
) -> None:
    dead = Spool(tmp_path, "key")
    kept = dead.keep([item(n) for n in range(5)])
    dead.done([kept[1]])
    dead.keep([item(5)])
    dead.done([kept[3]])
    dead.close()  # lets go of the lock, as the kernel does
    heir = Spool(tmp_path, "key")
    assert [k.read() for k in heir.adopt()] == [item(n) for n in (0, 2, 4, 5)]


def test_a_file_whose_owner_lives_is_left_alone(tmp_path: Path) -> None:
    owner, other = Spool(tmp_path, "key"), Spool(tmp_path, "key")
    owner.keep([item(1)])
    assert other.adopt() == []
    assert owner.adopt() == []
    owner.close()
    assert len(other.adopt()) == 1


def test_another_destinations_files_are_left_alone(tmp_path: Path) -> None:
    owner = Spool(tmp_path, "key")
    owner.keep([item(1)])
    owner.close()
    assert Spool(tmp_path, "yek").adopt() == []


@pytest.mark.parametrize("layout", ["one folder each", "one folder for both"])
def test_what_waits_for_another_destination_is_named_with_a_way_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str
) -> None:
    each = layout == "one folder each"
    old = Spool(tmp_path / "old" if each else tmp_path, "old")
    old.keep([item(1)])
    old.close()
    new = Spool(tmp_path / "new" if each else tmp_path, "new")
    new.warn_of_strangers()
    (file,) = tmp_path.rglob("old-*.spool")
    assert str(file) in caplog.text
    assert new.folder is not None
    assert f"move the files to {new.folder} under names that begin with new-" in caplog.text
    new.folder.mkdir(exist_ok=True)
    file.rename(new.folder / file.name.replace("old-", "new-"))
    assert len(new.adopt()) == 1
    caplog.clear()
    new.warn_of_strangers()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "torn", [b"", b'{"message"', b"\0\0\0\0", b"\xff\xfe{", b"[]\n7\nnull", b"{}\n\n"]
)
def test_a_torn_end_is_skipped_and_the_file_still_serves(tmp_path: Path, torn: bytes) -> None:
    dead = Spool(tmp_path, "key")
    dead.keep([item(1), item(2)])
    dead.close()
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes() + torn)
    heir = Spool(tmp_path, "key")
    found = heir.adopt()
    assert [k.read() for k in found] == [item(1), item(2)]
    heir.done(found[:1])
    heir.close()
    last = Spool(tmp_path, "key")
    (left,) = last.adopt()
    assert left.read() == item(2)
    last.done([left])
    assert files(tmp_path) == []


def test_an_emptied_file_is_reused_and_goes_with_its_owner(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "key")
    for number in range(3):
        kept = spool.keep([item(number)])
        assert files(tmp_path)[0].stat().st_size == len(item(number)) + 1
        spool.done(kept)
        assert files(tmp_path)[0].stat().st_size == 0
    spool.close()
    assert files(tmp_path) == []


def test_a_long_outage_rotates_files_and_each_goes_when_it_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "ROTATE_BYTES", 1000)
    spool = Spool(tmp_path, "key")
    kept = [k for n in range(12) for k in spool.keep([item(n, 300)])]
    assert len(files(tmp_path)) == 4
    assert [k.read() for k in kept] == [item(n, 300) for n in range(12)]
    spool.done(kept[:4])
    assert len(files(tmp_path)) == 3
    spool.done(kept[4:])
    assert len(files(tmp_path)) == 1


def test_disk_and_memory_are_bounded_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_module, "MOST_BYTES", 2000)
    monkeypatch.setattr(spool_module, "MOST_IN_MEMORY", 3)
    spool = Spool(tmp_path, "key")
    kept = [k for n in range(12) for k in spool.keep([item(n, 300)])]
    assert sum(f.stat().st_size for f in files(tmp_path)) <= 2000
    on_disk = sum(k.file is not None for k in kept)
    assert (on_disk, len(kept)) == (5, 8)
    assert caplog.text.count("recording.spool_unwritable") == 1
    spool.done(kept)
    assert len(spool.keep([item(1)])) == 1
    assert "recording.spool_writable_again" in caplog.text


def test_a_spool_that_cannot_be_written_is_said_once_and_items_are_sent_from_memory(
    ingest: Ingest, recording: Recording, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands where the folder should be: the superuser can write to read-only ones."""
    (tmp_path / "file").write_text("")
    recorder = recording(spool=tmp_path / "file" / "spool")
    for number in range(3):
        session = recorder.session(customer_id="a")
        session.feed(begin(f"s{number}"))
        session.feed(termination())
        assert not recorder.flush(0.05)
    ingest.start()
    assert recorder.flush()
    assert len(ingest.billed) == 3
    assert caplog.text.count("recording.spool_unwritable") == 1


def test_a_folder_that_nobody_may_write_to_costs_no_session(
    ingest: Ingest, recording: Recording, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o500)
    ingest.start()
    recorder = recording(spool=folder)
    recorder.session(customer_id="a").feed(begin("s1"))
    assert recorder.flush()
    assert len(ingest.sessions()) == 1
    folder.chmod(0o700)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "spool", "key")
    spool.keep([item(1)])
    spool.refuse(item(2), "a reason")
    for path in (tmp_path / "a" / "spool").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "a" / "spool").stat().st_mode & 0o077 == 0


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    file = SpoolFile.create(tmp_path, "key")
    file.append([item(1)])
    size = file.path.stat().st_size
    writable, file.descriptor = file.descriptor, os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OSError, match="No space left"):
        file.append([item(2)])
    os.close(file.descriptor)
    file.descriptor = writable
    file.append([item(3)])
    file.release()
    heir = SpoolFile.adopt(file.path)
    assert heir is not None
    assert [k.read() for k in heir.left()] == [item(1), item(3)]
    assert heir.path.stat().st_size > size
    heir.release()

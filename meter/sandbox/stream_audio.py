"""How long received audio is, and which chunks the provider takes."""

import dataclasses
from typing import Self

CHUNK_MS = (50, 1000)
"""The shortest and the longest chunk of PCM that is taken (reference/assemblyai.md §5)."""

PCM_SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_mulaw": 1}
OPUS_PACKET_MS = 20
COMPRESSED_BYTES_A_SECOND = 4000
"""What the double takes compressed streams to have, 32 kbit/s; it decodes nothing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AudioFormat:
    """An encoding: `bytes_a_second`, or `packet_ms` where each message is one packet."""

    bytes_a_second: int
    is_pcm: bool
    packet_ms: int | None = None

    @classmethod
    def named(cls, encoding: str, *, sample_rate: int) -> Self | None:
        """Return the format of an `encoding` parameter, or None when there is no such one."""
        if encoding in PCM_SAMPLE_BYTES:
            return cls(bytes_a_second=sample_rate * PCM_SAMPLE_BYTES[encoding], is_pcm=True)
        if encoding == "opus":
            return cls(bytes_a_second=0, is_pcm=False, packet_ms=OPUS_PACKET_MS)
        if encoding in {"ogg_opus", "aac"}:
            return cls(bytes_a_second=COMPRESSED_BYTES_A_SECOND, is_pcm=False)
        return None

    def milliseconds(self, *, size: int, chunks: int) -> int:
        """Return the audio in `size` bytes of so many chunks, rounded down to milliseconds."""
        if self.packet_ms is not None:
            return chunks * self.packet_ms
        return size * 1000 // self.bytes_a_second

    def whole_seconds(self, *, size: int, chunks: int) -> int:
        """Return the same, rounded up to seconds."""
        if self.packet_ms is not None:
            return -(-chunks * self.packet_ms // 1000)
        return -(-size // self.bytes_a_second)

    def violation(self, size: int) -> str | None:
        """Say what is wrong with the length of a chunk of `size` bytes, or None."""
        if not self.is_pcm:
            return None
        shortest, longest = CHUNK_MS
        if shortest * self.bytes_a_second <= size * 1000 <= longest * self.bytes_a_second:
            return None
        return (
            f"Input duration violation: {size * 1000 / self.bytes_a_second:.1f} ms. "
            f"Expected between {shortest} and {longest} ms"
        )

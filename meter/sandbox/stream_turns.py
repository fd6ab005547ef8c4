"""The transcript: drawn from nothing but the amount of audio and the session's parameters."""

from collections.abc import Iterator
from typing import Any

from meter.sandbox.documents import SPOKEN_TEXT
from meter.sandbox.stream_params import StreamParams

WORD_MS = 500
"""Everybody speaks two words a second."""
WORD_GAP_MS = 100
MESSAGES_A_TURN = 3
"""The last one of so many Turn messages ends the turn."""
SPEAKERS = ("A", "B")


class Turns:
    """Says what was spoken, a Turn message for every `turn_seconds` of audio.

    The same audio and the same parameters give the same messages, however the audio was cut into
    chunks. ForceEndpoint and the end of a session say what was spoken since the last one.
    """

    def __init__(self, params: StreamParams, *, turn_seconds: float) -> None:
        if not turn_seconds > 0:
            raise ValueError(f"turn_seconds must be more than 0, not {turn_seconds!r}")
        self.format_turns = params.format_turns
        self._params = params
        self._every_ms = max(1, round(turn_seconds * 1000))
        self._text = SPOKEN_TEXT.split()
        self._audio_ms = 0
        self._next_ms = self._every_ms
        self._order = 0
        self._starts_ms = 0
        self._said = 0
        self._announced = False

    def hear(self, audio_ms: int) -> Iterator[dict[str, Any]]:
        """Give the messages that are due once `audio_ms` of audio were received in all."""
        while self._next_ms <= audio_ms:
            self._audio_ms = self._next_ms
            self._next_ms += self._every_ms
            yield from self._say(ends=self._said + 1 >= MESSAGES_A_TURN)
        self._audio_ms = audio_ms

    def end_turn(self) -> Iterator[dict[str, Any]]:
        """Give the messages that end the turn, if something was spoken in it."""
        if self._said or self._words():
            yield from self._say(ends=True)

    def chatter(self) -> dict[str, Any]:
        """Return a Turn message beside the transcript, to flood a client with."""
        words = [_word(number, text, final=False) for number, text in enumerate(self._text)]
        return self._message(words, ends=False, formatted=False)

    def _say(self, *, ends: bool) -> Iterator[dict[str, Any]]:
        words = self._words(final=ends)
        self._said += 1
        if ends or self._params.partial_turns:
            if self._params.is_u3 and not self._announced:
                self._announced = True
                yield {"type": "SpeechStarted", "timestamp": self._starts_ms, "confidence": 0.98}
            yield self._message(words, ends=ends, formatted=ends and self._params.is_u3)
        if not ends:
            return
        if self.format_turns and not self._params.is_u3:
            yield self._message(words, ends=True, formatted=True)
        self._order += 1
        self._starts_ms = self._audio_ms
        self._said = 0
        self._announced = False

    def _words(self, *, final: bool = False) -> list[dict[str, Any]]:
        """Return the words of the turn as far as it was heard; the last one may yet change."""
        first, beyond = -(-self._starts_ms // WORD_MS), self._audio_ms // WORD_MS
        return [
            _word(number, self._text[number % len(self._text)], final=final or number < beyond - 1)
            for number in range(first, beyond)
        ]

    def _message(
        self, words: list[dict[str, Any]], *, ends: bool, formatted: bool
    ) -> dict[str, Any]:
        if not formatted:
            words = [word | {"text": word["text"].lower().strip(",.?")} for word in words]
        # A partial transcript holds the finalized words only (AsyncAPI description).
        transcript = " ".join(word["text"] for word in words if word["word_is_final"])
        message: dict[str, Any] = {
            "type": "Turn",
            "turn_order": self._order,
            "turn_is_formatted": formatted,
            "end_of_turn": ends,
            "transcript": transcript,
            "utterance": transcript if ends else "",
            "end_of_turn_confidence": self._confidence(ends=ends),
            "words": words,
        }
        if self._params.language_detection and ends:
            message |= {"language_code": "en", "language_confidence": 0.97}
        if self._params.speaker_labels:
            message["speaker_label"] = SPEAKERS[self._order % len(SPEAKERS)]
        return message

    def _confidence(self, *, ends: bool) -> float:
        if self._params.is_u3:
            return 1.0 if ends else 0.0
        return 0.91 if ends else 0.12


def _word(number: int, text: str, *, final: bool) -> dict[str, Any]:
    return {
        "text": text,
        "start": number * WORD_MS,
        "end": (number + 1) * WORD_MS - WORD_GAP_MS,
        "confidence": 0.98,
        "word_is_final": final,
    }

"""Classifier: texts in, Scores out, on every core, the same answer whatever the batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.bundle import ModelBundle, load_bundle
from models.bundle_manifest import FingerprintRow
from models.deferral import FILE_NAME as DEFERRAL_NAME
from models.deferral import parse_deferral
from models.first_tier import FILE_NAME as FIRST_TIER_NAME
from models.first_tier import FirstTier, parse_first_tier
from models.guard import FILE_NAME as GUARD_NAME
from models.guard import THRESHOLD, Guard, parse_guard
from models.machine import OUTPUTS, check_label_count, open_session, run_session, usable_cores
from models.scores import Scores, score_logits
from models.signals import Signals, token_ids_read
from models.tokens import TextTokenizer, TokenizedTexts, plan_batches
from models.words import FILE_NAME as WORDS_NAME
from models.words import Words, WordScores, parse_words
from schemas.codes import FIRST_TIER_CHOICES, FIRST_TIER_CRITERIA
from schemas.errors import BundleError, ConfigError, DocyardError, RunFailedError

# In confidence. Other rounding moves an answer by far less, int8 arithmetic that saturates by far more.
FINGERPRINT_TOLERANCE = 0.02
_TIMED_TEXTS = 256


@dataclass(frozen=True)
class AnswerDifference:
    """A fingerprint text that this machine answers otherwise than recorded.

    Attributes:
        text: its number in bundle.json, from 0.
        recorded_label: the label it must be.
        recorded_confidence: likewise.
        label: the one that this machine gives.
        confidence: likewise.
    """

    text: int
    recorded_label: str
    recorded_confidence: float
    label: str
    confidence: float


class Classifier:
    """Runs a ModelBundle on texts.

    A text longer than `max_tokens` is read in overlapping windows where the bundle says so: its logits are the mean of
    theirs, and likewise its embedding; otherwise it is cut. Where the bundle has words, their scores of the whole text
    are added to its logits.
    Windows are grouped by exact token length and never padded; the groups run on `threads` Python threads, which share
    one ONNX Runtime session of one thread per call. On one machine an answer depends only on its text and the bundle,
    to the last bit: not on batch size, order or neighbours. On another kind of CPU the last digits may differ; the
    bundle's fingerprint bounds by how much. Safe to call from several threads at once.

    Args:
        bundle: a bundle that `load_bundle` has checked.
        batch_tokens: about how many tokens go through the model at once, at least 1.
        threads: batches in flight; 0 for one per core this process may use.
        first_tier: by which of the policy's criteria the bundle's first tier, if it has one, answers before the
            encoder; "off" for the encoder only.
        check_fingerprint: False only to find out how far this machine is from it.

    Raises:
        BundleError: the files changed since they were checked, do not belong together, or this machine does not
            reproduce the bundle's fingerprint.
        ConfigError: `batch_tokens` or `threads` is out of range, or `first_tier` names no criterion.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        batch_tokens: int = 512,
        threads: int = 0,
        first_tier: str = "strict",
        check_fingerprint: bool = True,
    ) -> None:
        if batch_tokens < 1:
            raise ConfigError(f"batch_tokens: expected at least 1, found {batch_tokens}")
        if threads < 0:
            raise ConfigError(f"threads: expected 0 or more, found {threads}")
        if first_tier not in FIRST_TIER_CHOICES:
            raise ConfigError(f"first_tier: expected {', '.join(FIRST_TIER_CRITERIA)} or off, found {first_tier!r}")
        self.bundle = bundle
        self._batch_tokens = batch_tokens
        self._model_path = str(bundle.folder / "model.onnx")
        tokenizer_path = str(bundle.folder / "tokenizer.json")
        self._tokenizer = TextTokenizer(
            bundle.read("tokenizer.json"), bundle.max_tokens, bundle.reading.window_overlap, tokenizer_path
        )
        self._session = open_session(bundle.read("model.onnx"), len(bundle.labels), self._model_path)
        self._check_longest_text()
        self._first_tier = self._open_first_tier() if first_tier in bundle.policy.first_tier else None
        self._first_tier_threshold = np.float32(bundle.policy.first_tier.get(first_tier, np.inf))
        self._guard = self._open_guard() if GUARD_NAME in bundle.manifest.files else None
        self._words = self._open_words()
        self._deferral = None
        if DEFERRAL_NAME in bundle.manifest.files:
            where = str(bundle.folder / DEFERRAL_NAME)
            self._deferral = parse_deferral(bundle.read(DEFERRAL_NAME), len(bundle.labels), where)
        self._pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="docyard-classify")
        try:
            if check_fingerprint:
                self._check_fingerprint()
        except BaseException:
            self.close()
            raise

    def classify(self, texts: Sequence[str], encoder_only: bool = False) -> Scores:
        """Classifies every text; a text the model fails on gets `failed` and spoils no other.

        Args:
            texts: any number of strings; bounded by the caller, all their scores are held at once.
            encoder_only: True to leave the first tier out.

        Raises:
            RunFailedError: the model fails on a text that it is known to read, so that the cause is not a document.
        """
        tokenized = self._tokenizer.tokenize(texts)
        token_ids = self._token_ids(tokenized)
        easy, easy_scores = self._easy(tokenized, token_ids, encoder_only)
        outputs = ("logits",) if self._guard is None else OUTPUTS
        signals, failures = self._signals(texts, tokenized, token_ids, easy, outputs)
        scored = score_logits(signals.logits, self.bundle.temperature)
        if self._deferral is not None:
            scored.confidence[:] = self._deferral.confidence(signals, self.bundle.temperature)
        if self._guard is not None:
            asked = np.flatnonzero(~easy)
            own = signals.take(asked)
            scored.familiarity[asked] = self._guard.familiarity(own.token_ids, own.logits, own.embedding)
        for name in ("top_label_ids", "top_confidences", "confidence", "familiarity"):
            getattr(scored, name)[easy] = getattr(easy_scores, name)[easy]
        for row in np.flatnonzero(scored.failed).tolist():
            failures.setdefault(row, "model: scores that are not finite")
        return replace(
            scored,
            n_tokens=tokenized.n_tokens,
            truncated=tokenized.truncated,
            n_windows=tokenized.n_windows,
            first_tier=easy,
            failures=dict(sorted(failures.items())),
        )

    def first_tier_scores(self, texts: Sequence[str]) -> Scores:
        """The first tier's answers to the texts that it is asked about, whatever its threshold; NaN for the others.

        Raises:
            ConfigError: the bundle has no first tier, or it is off.
        """
        if self._first_tier is None:
            raise ConfigError(f"{self.bundle.reference}: has no first tier, or it is off")
        tokenized = self._tokenizer.tokenize(texts)
        return self._easy(tokenized, self._token_ids(tokenized), False)[1]

    @property
    def has_first_tier(self) -> bool:
        """True where a first tier answers before the encoder."""
        return self._first_tier is not None

    def logits(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The raw scores, for calibration: the encoder's plus the words', (n_documents, n_labels) float32.

        NaN where the encoder failed.
        """
        tokenized, none = self._tokenizer.tokenize(texts), np.zeros(len(texts), dtype=np.bool_)
        return self._signals(texts, tokenized, self._token_ids(tokenized), none, ("logits",))[0].logits

    def first_tier_logits(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The first tier's raw scores, whatever the guard says: (n, n_labels) float32; NaN for texts that are too long.

        Raises:
            ConfigError: the bundle has no first tier, or it is off.
        """
        if self._first_tier is None:
            raise ConfigError(f"{self.bundle.reference}: has no first tier, or it is off")
        return self._first_tier_logits(self._first_tier, self._tokenizer.tokenize(texts))

    def token_ids(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """The word pieces that the model reads of each text, each once, without special tokens."""
        return self._token_ids(self._tokenizer.tokenize(texts))

    @property
    def n_pieces(self) -> int:
        """The number of word pieces of the tokenizer: their ids lie below it."""
        return self._tokenizer.highest_id + 1

    def signals(self, texts: Sequence[str]) -> Signals:
        """The signals of the encoder's answers, from which a deferral or a guard is learned."""
        tokenized, none = self._tokenizer.tokenize(texts), np.zeros(len(texts), dtype=np.bool_)
        return self._signals(texts, tokenized, self._token_ids(tokenized), none, OUTPUTS)[0]

    def window_logits(self, windows: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        """The raw scores of windows, each as a text of its own: (n_windows, n_labels) float32.

        Args:
            windows: token ids, one special token at each end.
        """
        logits = self._run_windows(windows, ("logits",))[0]
        return self._with_words(logits, [window[1:-1] for window in windows])[0]

    def embeddings(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The encoder's embedding of each text: (n_texts, width) float32, not normalised; NaN where the model failed.

        The mean over its windows, where a text is read in several.
        """
        return self._run(self._tokenizer.tokenize(texts), np.zeros(len(texts), dtype=np.bool_), ("embedding",))[0]

    def _signals(
        self,
        texts: Sequence[str],
        tokenized: TokenizedTexts,
        token_ids: Sequence[npt.NDArray[np.int32]],
        without: npt.NDArray[np.bool_],
        outputs: Sequence[str],
    ) -> tuple[Signals, dict[int, str]]:
        """The signals of the answers, and why some texts have none; the `outputs` are the logits and what follows."""
        results, failures = self._run(tokenized, without, outputs)
        n_labels = len(self.bundle.labels)
        logits, words = self._with_words(results[:, :n_labels], token_ids)
        signals = Signals(
            texts=texts,
            token_ids=token_ids,
            unknown_id=self._tokenizer.unknown_id,
            logits=logits,
            embedding=results[:, n_labels:],
            word_logits=words.logits,
            rarity=words.rarity,
            n_tokens=tokenized.n_tokens,
            n_windows=tokenized.n_windows,
            truncated=tokenized.truncated,
        )
        return signals, failures

    def _with_words(
        self, logits: npt.NDArray[np.float32], token_ids: Sequence[npt.NDArray[np.int32]]
    ) -> tuple[npt.NDArray[np.float32], WordScores]:
        """The encoder's logits plus the words' part, and the words' own; where the encoder's are NaN, NaN and 0."""
        found = WordScores(np.zeros(logits.shape), np.zeros(len(logits)))
        if self._words is None:
            return logits, found
        rows = np.flatnonzero(np.isfinite(logits).all(axis=1))
        own = self._words.read([token_ids[row] for row in rows.tolist()])
        found.logits[rows], found.rarity[rows] = own.logits, own.rarity
        return (logits + self._words.weight * found.logits).astype(np.float32), found

    def _easy(
        self, tokenized: TokenizedTexts, token_ids: Sequence[npt.NDArray[np.int32]], encoder_only: bool
    ) -> tuple[npt.NDArray[np.bool_], Scores]:
        """Flags the texts that the first tier answers, and its scores of all those that it may answer."""
        none = np.full((len(tokenized.n_tokens), len(self.bundle.labels)), np.nan, dtype=np.float32)
        if self._first_tier is None or encoder_only:
            return np.zeros(len(none), dtype=np.bool_), score_logits(none, self.bundle.first_tier_temperature)
        logits = self._first_tier_logits(self._first_tier, tokenized)
        if self._guard is None:
            scores = score_logits(logits, self.bundle.first_tier_temperature)
        else:
            familiarity = self._guard.familiarity(token_ids, logits)
            logits[~(familiarity >= THRESHOLD)] = np.nan  # the encoder is asked about what the first tier hardly knows
            scores = score_logits(logits, self.bundle.first_tier_temperature)
            scores.familiarity[:] = familiarity
        return scores.confidence >= self._first_tier_threshold, scores

    def _first_tier_logits(self, first_tier: FirstTier, tokenized: TokenizedTexts) -> npt.NDArray[np.float32]:
        """Its logits of the texts of one window; NaN for the others."""
        logits = np.full((len(tokenized.n_tokens), len(self.bundle.labels)), np.nan, dtype=np.float32)
        whole = np.flatnonzero((tokenized.n_windows == 1) & ~tokenized.truncated)
        first_windows = np.cumsum(tokenized.n_windows) - tokenized.n_windows
        logits[whole] = first_tier.logits([tokenized.windows[window] for window in first_windows[whole]])
        return logits

    def _token_ids(self, tokenized: TokenizedTexts) -> list[npt.NDArray[np.int32]]:
        return token_ids_read(tokenized, self.bundle.reading.window_overlap or 0)

    def _run(
        self, tokenized: TokenizedTexts, without: npt.NDArray[np.bool_], outputs: Sequence[str]
    ) -> tuple[npt.NDArray[np.float32], dict[int, str]]:
        """The model's outputs side by side, in the order of the texts, and why some failed.

        NaN for those that failed and those `without`.
        """
        n_windows = np.where(without, 0, tokenized.n_windows)
        wanted = np.repeat(~without, tokenized.n_windows)
        windows = [window for window, taken in zip(tokenized.windows, wanted, strict=True) if taken]
        results, failed_windows = self._run_windows(windows, outputs)
        texts_of_windows = np.repeat(np.arange(len(n_windows)), n_windows)
        failures = dict(tokenized.failures)
        for window, reason in sorted(failed_windows.items()):
            failures.setdefault(int(texts_of_windows[window]), reason)
        return _pooled(results, n_windows), failures

    def _run_windows(
        self, windows: Sequence[npt.NDArray[np.int32]], outputs: Sequence[str]
    ) -> tuple[npt.NDArray[np.float32], dict[int, str]]:
        widths = {"logits": len(self.bundle.labels), "embedding": self._width}
        results = np.full((len(windows), sum(widths[name] for name in outputs)), np.nan, dtype=np.float32)
        failures: dict[int, str] = {}

        def answer(rows: npt.NDArray[np.intp]) -> None:
            input_ids = np.stack([windows[row] for row in rows.tolist()]).astype(np.int64)
            self._answer(input_ids, rows, list(outputs), results, failures)

        lengths = np.array([len(window) for window in windows], dtype=np.int32)
        futures = [self._pool.submit(answer, rows) for rows in plan_batches(lengths, self._batch_tokens)]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()
        return results, failures

    def fingerprint(self, texts: Sequence[str]) -> tuple[FingerprintRow, ...]:
        """The answers to `texts`, to be written into bundle.json and demanded of every machine.

        Choose texts that are free to publish, whose confidence is far from any other label's.

        Raises:
            BundleError: the model fails on one of them.
        """
        scores = self.classify(texts, encoder_only=True)
        for row, reason in scores.failures.items():
            raise BundleError(f"{self._model_path}: fails on fingerprint text {row} ({reason}); choose another text")
        labels = self.bundle.labels
        return tuple(
            FingerprintRow(text, labels[label_id], round(float(confidence), 6))
            for text, label_id, confidence in zip(texts, scores.label_ids, scores.top_confidences[:, 0], strict=True)
        )

    def close(self) -> None:
        """Ends the threads; the classifier can no longer be used."""
        self._pool.shutdown()

    def _answer(
        self,
        input_ids: npt.NDArray[np.int64],
        rows: npt.NDArray[np.intp],
        outputs: list[str],
        results: npt.NDArray[np.float32],
        failures: dict[int, str],
    ) -> None:
        """Runs a batch into `results`; halves one that fails until only the failing text is left."""
        try:
            results[rows] = np.concatenate(run_session(self._session, input_ids, outputs), axis=1)
        except Exception as error:  # ONNX Runtime's own errors share no narrower base
            if len(rows) > 1:
                middle = len(rows) // 2
                self._answer(input_ids[:middle], rows[:middle], outputs, results, failures)
                self._answer(input_ids[middle:], rows[middle:], outputs, results, failures)
                return
            self._check_still_works(error)
            try:  # the trouble may have been a passing one
                results[rows] = np.concatenate(run_session(self._session, input_ids, outputs), axis=1)
            except Exception as again:
                failures[int(rows[0])] = f"model: {type(again).__name__}"

    def _open_first_tier(self) -> FirstTier:
        """Opens the bundle's first tier; it has to know every word piece."""
        path = self.bundle.folder / FIRST_TIER_NAME
        if FIRST_TIER_NAME not in self.bundle.manifest.files:
            raise BundleError(f"{path}: missing, though policy.toml has a [first_tier]; build the bundle again")
        first_tier = FirstTier(parse_first_tier(self.bundle.read(FIRST_TIER_NAME), len(self.bundle.labels), str(path)))
        if first_tier.n_pieces <= self._tokenizer.highest_id:
            raise BundleError(
                f"{path}: knows {first_tier.n_pieces} word pieces, tokenizer.json has ids up to "
                f"{self._tokenizer.highest_id}: they do not belong together; build the bundle again"
            )
        return first_tier

    def _open_words(self) -> Words | None:
        if WORDS_NAME not in self.bundle.manifest.files:
            return None
        return parse_words(self.bundle.read(WORDS_NAME), len(self.bundle.labels), str(self.bundle.folder / WORDS_NAME))

    def _open_guard(self) -> Guard:
        path = str(self.bundle.folder / GUARD_NAME)
        n_tiers = 2 if self.bundle.policy.first_tier else 1
        weights = parse_guard(self.bundle.read(GUARD_NAME), self.n_pieces, self._width, n_tiers, path)
        return Guard(weights, self.n_pieces)

    def _longest_text(self) -> npt.NDArray[np.int64]:
        """A text as long as the model reads, of the tokenizer's highest id: no document asks for more."""
        input_ids = np.full((1, self.bundle.max_tokens), self._tokenizer.highest_id, dtype=np.int64)
        input_ids[0, [0, -1]] = self._tokenizer.frame
        return input_ids

    def _check_longest_text(self) -> None:
        try:
            logits, embedding = run_session(self._session, self._longest_text(), ["logits", "embedding"])
        except Exception as error:
            raise BundleError(
                f"{self._model_path}: fails ({type(error).__name__}) on {self.bundle.max_tokens} tokens with ids up to "
                f"{self._tokenizer.highest_id}: it does not belong to this tokenizer.json, or 'max_tokens' in "
                "bundle.json is more than it reads; build the bundle again"
            ) from None
        self._width = embedding.shape[-1]
        if logits.ndim != 2 or embedding.ndim != 2 or len(logits) != 1 or len(embedding) != 1:
            raise BundleError(
                f"{self._model_path}: expected outputs (batch, n_labels) and (batch, width), found {logits.shape} and "
                f"{embedding.shape}; export it again"
            )
        check_label_count(logits.shape[1], len(self.bundle.labels), self._model_path)

    def _check_still_works(self, error: Exception) -> None:
        """Distinguishes a document the model cannot read from a model that no longer reads anything."""
        try:
            run_session(self._session, self._longest_text(), ["logits"])
        except Exception:
            raise RunFailedError(
                f"{self._model_path}: the model fails on a text it answered before ({type(error).__name__}): the cause "
                "lies outside the documents; check this machine's memory, then run again"
            ) from error

    def fingerprint_differences(self) -> tuple[list[AnswerDifference], float]:
        """The texts of the bundle's fingerprint that this machine answers otherwise than recorded.

        Returns:
            The differences, and the largest one in confidence where the label is as recorded.
        """
        recorded = self.bundle.fingerprint
        scores = self.classify([row.text for row in recorded], encoder_only=True)
        differences, largest = [], 0.0
        for number, row in enumerate(recorded):
            label_id = int(scores.label_ids[number])
            label = "no label" if label_id < 0 else self.bundle.labels[label_id]
            confidence = 0.0 if label_id < 0 else round(float(scores.top_confidences[number, 0]), 6)
            distance = abs(confidence - row.confidence)
            if label == row.label:
                largest = max(largest, distance)
            if label != row.label or distance > FINGERPRINT_TOLERANCE:
                differences.append(AnswerDifference(number, row.label, row.confidence, label, confidence))
        return differences, largest

    def _check_fingerprint(self) -> None:
        for found in self.fingerprint_differences()[0]:
            raise BundleError(
                f"{self.bundle.folder / 'bundle.json'}: this machine answers fingerprint text {found.text} with "
                f"{found.label} ({found.confidence:.3f}), the bundle was certified with {found.recorded_label} "
                f"({found.recorded_confidence:.3f}); its CPU or ONNX Runtime computes differently: run on a machine "
                "like the one that built the bundle, or build the bundle on this one"
            )


def _pooled(results: npt.NDArray[np.float32], n_windows: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """The mean over each text's windows: (n_windows, width) -> (n_texts, width); NaN where one failed or none is."""
    stops = np.cumsum(n_windows)
    pooled = np.full((len(n_windows), results.shape[1]), np.nan, dtype=np.float32)
    single = n_windows == 1
    pooled[single] = results[stops[single] - 1]
    for text in np.flatnonzero(n_windows > 1):
        pooled[text] = results[stops[text] - n_windows[text] : stops[text]].mean(axis=0, dtype=np.float64)
    return pooled


_cached: dict[tuple[str, int, int, str, str], Classifier] = {}
_cached_lock = threading.Lock()


def cached_classifier(
    folder: str, batch_tokens: int, threads: int, first_tier: str, expected_digest: str
) -> Classifier:
    """Returns this process's one classifier for a bundle, loading it at the first call.

    Args:
        folder: of the bundle.
        batch_tokens: as for `Classifier`.
        threads: as for `Classifier`.
        first_tier: as for `Classifier`.
        expected_digest: the digest the run began with, 64 hexadecimal digits.

    Raises:
        BundleError: the folder no longer holds that bundle, or the bundle cannot be used.
    """
    key = (str(Path(folder).resolve()), batch_tokens, threads, first_tier, expected_digest)
    with _cached_lock:
        if key not in _cached:
            bundle = load_bundle(Path(folder))
            if bundle.digest != expected_digest:
                raise BundleError(
                    f"{folder}: expected the bundle with digest {expected_digest[:12]}, found {bundle.digest[:12]}: it "
                    "was replaced while the run was going on; put it back, or start the run again"
                )
            _cached[key] = Classifier(bundle, batch_tokens, threads, first_tier)
        return _cached[key]


@dataclass(frozen=True)
class Examination:
    """The result of examining one bundle.

    Attributes:
        folder: as it was named.
        reference: name and digest; None where the bundle does not load, like all that follows but `problem`.
        problem: the reason it does not load or run; None where it does.
        fingerprint_texts: number of texts its fingerprint has.
        differences: those that are answered otherwise, so that a run would refuse the bundle here.
        largest_difference: in confidence, over all texts with the recorded label.
        documents_per_second: roughly, of short texts such as those of the fingerprint.
    """

    folder: str
    reference: str | None = None
    problem: str | None = None
    fingerprint_texts: int | None = None
    differences: tuple[AnswerDifference, ...] = ()
    largest_difference: float | None = None
    documents_per_second: float | None = None

    @property
    def sound(self) -> bool:
        """True where a run would use the bundle on this machine."""
        return self.problem is None and not self.differences


def examine_bundle(folder: Path) -> Examination:
    """Loads a bundle, opens its model and asks it the texts of its fingerprint; never raises for what it finds."""
    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        return Examination(str(folder), problem=str(error))
    reference = bundle.reference
    try:
        classifier = Classifier(bundle, check_fingerprint=False)
        differences, largest = classifier.fingerprint_differences()
        speed = _documents_per_second(classifier)
        classifier.close()
    except DocyardError as error:
        return Examination(str(folder), reference, problem=str(error))
    return Examination(str(folder), reference, None, len(bundle.fingerprint), tuple(differences), largest, speed)


def _documents_per_second(classifier: Classifier) -> float | None:
    texts = [row.text for row in classifier.bundle.fingerprint]
    if not texts:
        return None
    many = (texts * _TIMED_TEXTS)[:_TIMED_TEXTS]
    started = time.perf_counter()
    classifier.classify(many)
    return len(many) / (time.perf_counter() - started)

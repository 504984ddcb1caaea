"""What the application will see: its own work before and after the network, measured beside the inference.

The user names python entries: `samples()` gives the raw samples, `before(sample)` makes of one what the network takes (an array
with the batch axis, or a dict by input name), `after(outputs)` gets the list of outputs. Without `samples` the rows of the
data are the raw samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgebench import entries, stats
from edgebench.errors import DataError
from edgebench.metrics import Metric, Record, Subject
from edgebench.scaled import fed, told
from edgebench.schema import Interval, Measurement, Protocol, Work

KEYS = ("samples", "before", "after")
SECONDS = 2.0
LEAST = 64
WARM = 10
PARTS = ("before", "inference", "after")


def resolve(named: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """The functions by their keys. Raises DataError for one that does not import."""
    base = Path(str(named.get("base", ".")))
    return {key: entries.resolve(str(named[key]), base, DataError) for key in KEYS if named.get(key)}


def check(named: Mapping[str, Any]) -> None:
    """Refuse what cannot be measured before anything is: functions that do not import, or fail on the first sample."""
    functions = resolve(named)
    if "samples" in functions:
        sample = _samples(named, functions)[0]
        if "before" in functions:
            _call(str(named["before"]), functions["before"], sample)


def _samples(named: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Sequence[Any]:
    found = _call(str(named["samples"]), functions["samples"])
    try:
        samples = list(found)
    except TypeError:
        samples = []
    if not samples:
        raise DataError(f"The entry {named['samples']} gave no samples.", "Return a list of at least one raw sample.")
    return samples


def _call(entry: str, function: Callable[..., Any], *values: Any) -> Any:
    try:
        return function(*values)
    except (Exception, SystemExit) as problem:  # an exit in it would end the run without a word
        words = (str(problem).strip().splitlines() or ["no message"])[0].rstrip(".")
        raise DataError(
            f"The application's {entry} raised {type(problem).__name__}: {words}.",
            "Mend it, or leave it out.",
        ) from problem


class Application(Metric):
    """Seconds from the raw sample to what the program uses, and each part: before, inference, after."""

    name: ClassVar[str] = "application"
    observes: ClassVar[bool] = True
    apart: ClassVar[bool] = True
    workers: ClassVar[int] = 3

    def observe(self, subject: Subject) -> dict[str, Any]:
        named = subject.application
        functions = resolve(named)
        if not functions:
            return {"named": []}
        rows = min(subject.size, 64)
        samples = (
            _samples(named, functions)
            if "samples" in functions
            else [subject.feeds(i * subject.cell.batch) for i in range(rows)]
        )
        before: Callable[..., Any] = functions.get("before", _as_it_is)
        after: Callable[..., Any] = functions.get("after", _as_it_is)
        name, clock = subject.session.inputs[0].name, subject.tools.clock

        def once(sample: Any) -> tuple[int, int, int]:
            start = clock()
            made = before(_one_array(sample) if "samples" not in functions else sample)
            feeds = _fed(made if isinstance(made, Mapping) else {name: made}, subject)
            ready = clock()
            outputs = subject.session.run(feeds)
            inferred = clock()
            after(told(subject.session.outputs, outputs))
            return ready - start, inferred - ready, clock() - inferred

        if "before" in functions or "samples" in functions:
            entry = str(named.get("before") or named["samples"])
            first = _call(entry, before, samples[0] if "samples" in functions else _one_array(samples[0]))
            _check_made(entry, first if isinstance(first, Mapping) else {name: first}, subject)
        _call(", ".join(str(named[k]) for k in KEYS if named.get(k)), once, samples[0])
        for i in range(WARM):
            once(samples[i % len(samples)])
        times: list[tuple[int, int, int]] = []
        end = clock() + int(SECONDS * 1e9)
        while clock() < end or len(times) < LEAST:
            times.append(once(samples[len(times) % len(samples)]))
        return {"named": sorted(functions), **{part: [t[i] for t in times] for i, part in enumerate(PARTS)}}

    def figures(self, work: Work, records: Sequence[Record], protocol: Protocol) -> tuple[Measurement, ...]:
        seen = [r["application"] for r in records if r.get("application")]
        if not seen:
            return ()
        seen = [r for r in seen if r.get("named") != []]
        if not seen:
            return (_NOTHING,)
        # A stage that the application does not have took no time, and has no figure.
        named = seen[-1].get("named", KEYS)
        parts = [p for p in PARTS if p == "inference" or p in named]
        totals = [[sum(taken) for taken in zip(*(r[p] for p in PARTS), strict=True)] for r in seen]
        every = [ns / 1e9 for total in totals for ns in total]
        p99 = stats.percentile_bound(every, 0.99)
        return (
            _figure("application", "raw sample to result", totals),
            *(_figure(f"application_{part}", part, [r[part] for r in seen]) for part in parts),
            Measurement(
                metric="application_p99",
                unit="s",
                phase="raw sample to result",
                source="bound at 99 % confidence",
                value=p99,
                n=len(every),
                note="" if p99 is not None else f"n < {stats.samples_needed(0.99)}",
            ),
        )


_NOTHING = Measurement(
    metric="application",
    unit="s",
    phase="raw sample to result",
    source="perf_counter_ns around the application's own functions",
    note="nothing of the application was named: samples, before or after",
)


def _check_made(entry: str, feeds: Mapping[str, Any], subject: Subject) -> None:
    """Raise DataError where what the application makes for the network has not the shape of its inputs."""
    for spec in subject.session.inputs:
        shape = list(getattr(feeds.get(spec.name), "shape", ()))
        wanted = [subject.cell.batch if i == 0 and size is None else size for i, size in enumerate(spec.shape)]
        if len(shape) == len(wanted) and all(w in (None, f) for w, f in zip(wanted, shape, strict=True)):
            continue
        said = [size if size is not None else "any" for size in wanted]
        axis = len(shape) == len(wanted) - 1 and all(w in (None, f) for w, f in zip(wanted[1:], shape, strict=True))
        raise DataError(
            f"The application's {entry} made {shape} for input {spec.name!r}, and the network takes {said}.",
            "Add the batch axis in front: return array[None]."
            if axis
            else "Return an array of the network's shape, or leave it out.",
        )


def _fed(made: Mapping[str, Any], subject: Subject) -> Mapping[str, Any]:
    """With integers for real numbers where the network takes such: work of the application's, and in its time."""
    specs = {spec.name: spec for spec in subject.session.inputs if spec.scaled}
    return (
        {name: fed(specs[name], array) if name in specs else array for name, array in made.items()} if specs else made
    )


def _as_it_is(value: Any) -> Any:
    return value


def _one_array(feeds: Mapping[str, Any]) -> Any:
    """A network of one input is fed an array; one of several, a dict."""
    return next(iter(feeds.values())) if len(feeds) == 1 else feeds


def _figure(name: str, phase: str, workers: Sequence[Sequence[int]]) -> Measurement:
    medians = [stats.median(ns) / 1e9 for ns in workers]
    low, high = stats.geometric_interval(medians) if min(medians) > 0 else (None, None)
    return Measurement(
        metric=name,
        unit="s",
        phase=phase,
        source="perf_counter_ns around the application's own functions",
        value=stats.geometric_centre(medians) if min(medians) > 0 else 0.0,
        samples=tuple(medians),
        n=sum(map(len, workers)),
        interval=Interval(low=low, high=high) if low is not None and high is not None else None,
    )

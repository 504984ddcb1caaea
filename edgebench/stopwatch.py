"""Times files side by side on a device, for recipe steps that search by latency. The ordinary campaign does the measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgebench import environment, measure, plugins
from edgebench.codec import Options, digest, from_json
from edgebench.compress.timing import Place, Timing
from edgebench.devices import Device
from edgebench.errors import EdgebenchError, MissingRuntime, PlanError
from edgebench.lines import ChildDied
from edgebench.schema import DEFAULT, Artifact, Cell, Job, Protocol, Result, Work

PROTOCOL = replace(DEFAULT, least_generations=3, most_generations=8, cell_seconds=15.0, attempts=2)
"""Shorter than a run's: a search needs its ratio to a few percent, and asks again when it is near."""
ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """Of one device."""

    device: Device
    options: Mapping[str, Mapping[str, Any]]
    """The plan's options of each backend: the search measures what the run will."""
    protocol: Protocol = PROTOCOL

    def spent(self) -> tuple[float, float]:
        """Seconds of the clock and of this process's processor time so far."""
        return measure.spent()

    def lowering(self, place: Place) -> str:
        """The lowering of the backend's fp32 files. Raises PlanError for another device or a backend without fp32."""
        if place.device not in ("", self.device.name):
            raise PlanError(
                f'A recipe wants its latency from the device "{place.device}", but this is a run on "{self.device.name}".',
                f'Run it with --device {place.device}, or name "{self.device.name}" in the step.',
            )
        backend = plugins.backend(place.backend)
        if "fp32" not in backend.precisions:
            raise PlanError(
                f'The backend "{backend.name}" runs no fp32, which a latency budget is of.', "Name another backend."
            )
        return backend.precisions["fp32"]

    def fingerprint(self, place: Place) -> Options:
        """The device, the machine where it is this one, the runtime's version and its options."""
        self.lowering(place)
        found = plugins.backend(place.backend).probe()
        if not found.ok:
            raise MissingRuntime(f'Backend "{place.backend}" cannot run here: {found.reason}.', found.fix)
        local = self.device.profile.transport == "local"
        return Options(
            device=self.device.name,
            machine=environment.fingerprint(environment.preflight()) if local else digest(self.device.profile),
            version=found.version,
            options=dict(self.options.get(place.backend, {})),
            protocol=digest(self.protocol),
        )

    def time(self, artifacts: Sequence[Artifact], place: Place) -> list[Timing]:
        """In the order of the artifacts; shares are of the first one's time. Raises EdgebenchError."""
        self.lowering(place)
        works = self._works(artifacts, place)
        why = ""
        for attempt in range(ATTEMPTS):
            results = self._conduct(works, attempt)
            found = [_timing(results[work.cell.id], first=i == 0) for i, work in enumerate(works)]
            timings = [t for t in found if t is not None]
            if len(timings) == len(found):
                return timings
            why = next((str(r.noise.get("why")) for r in results.values() if r.noise.get("why")), "no ratio came out")
        raise EdgebenchError(
            f"The latency on {place.backend} cannot be measured for the budget of a recipe: {why}.",
            "Stop other programs on the device, and run again.",
        )

    def _works(self, artifacts: Sequence[Artifact], place: Place) -> list[Work]:
        works: list[Work] = []
        for i, artifact in enumerate(artifacts):
            cell = Cell(
                model="candidate",
                recipe=str(i),
                backend=place.backend,
                device=self.device.name,
                batch=place.batch,
                threads=place.threads,
                options=Options(self.options.get(place.backend, {})),
            )
            random = Artifact(format="random", path="", sha256="0", size=0, facts=Options(seed=0, count=16))
            baseline = works[0].cell.id if works else cell.id
            works.append(Work(cell=cell, artifact=self.device.push(artifact), data=random, baseline=baseline))
        return works

    def _conduct(self, works: Sequence[Work], attempt: int) -> dict[str, Result]:
        results: dict[str, Result] = {}

        def on_event(event: Mapping[str, Any]) -> None:
            if event["event"] == "result":
                result = from_json(Result, event["result"])
                results[result.cell.id] = result

        # A board runs a job once, however often it is sent: each is another.
        name = digest([[w.artifact.sha256 for w in works], attempt])[:16]
        job = Job(
            id=f"search-{measure.utc_stamp()}-{name}",
            work=tuple(works),
            metrics=("latency",),
            protocol=self.protocol,
            care=self.device.profile.care,
        )
        try:
            self.device.conduct(job, (), on_event)
        except ChildDied as death:
            raise EdgebenchError(
                f"The campaign of a latency search on {self.device.name} {death.reason}.", "Run again."
            ) from death
        for work in works:
            result = results.get(work.cell.id)
            if result is None or result.status != "ok":
                reason = result.reason if result else "it gave no result"
                raise EdgebenchError(
                    f"A pruned network does not run on {work.cell.backend}: {reason.rstrip('.')}.",
                    (result.fix if result else "") or "Name another backend for the latency budget.",
                )
        return results


def _timing(result: Result, first: bool) -> Timing | None:
    """None where a figure was withheld."""
    latency, speed = result.get("latency"), result.get("speedup")
    if latency is None or latency.value is None:
        return None
    ends = latency.interval
    low, high = (ends.low, ends.high) if ends else (latency.value, latency.value)
    if first:
        return Timing(seconds=latency.value, low=low, high=high)
    if speed is None or not speed.value or speed.interval is None:
        return None
    share_low, share_high = 1 / speed.interval.high, 1 / speed.interval.low
    return Timing(
        seconds=latency.value,
        low=low,
        high=high,
        share=1 / speed.value,
        share_low=share_low,
        share_high=share_high,
    )

"""What a program says of its runs, checked: it comes from a device, and may be anything."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

LONGEST_SAID = 200
Count = Annotated[int, Field(ge=0, lt=1 << 62)]
Number = Annotated[int, Field(gt=-(1 << 62), lt=1 << 62)]
Name = Annotated[str, Field(max_length=1024)]
_STRICT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Observation(BaseModel):
    """As observe.h has it: -1 where nothing can be read."""

    model_config = _STRICT
    at_ns: Count
    run: Count
    khz: list[Number]
    limit_khz: list[Number]
    millidegrees: list[Number]
    microamperes: Number = -1
    microvolts: Number = -1


class Facts(BaseModel):
    """The document of main.c, and of what runs bundles in node and browsers; each has only some of these members."""

    model_config = _STRICT
    isa: Name = ""
    wall_ns: list[Count] = Field(default_factory=list)
    call_ns: list[list[Count]] = Field(default_factory=list)
    empty_call_ns: Annotated[float, Field(ge=0, lt=1e12)] = 0
    zeros: list[Count] = Field(default_factory=list)
    cycles: list[Count] = Field(default_factory=list)
    instructions: list[Count] = Field(default_factory=list)
    cache_misses: list[Count] = Field(default_factory=list)
    counters_error: Annotated[int, Field(ge=0, lt=4096)] = 0
    clock_step_ns: Annotated[float, Field(ge=0, lt=1e12)] = 0
    cpus: list[Count] = Field(default_factory=list)
    watched_cpus: list[Count] = Field(default_factory=list)
    most_khz: list[Number] = Field(default_factory=list)
    zones: list[Name] = Field(default_factory=list)
    battery: Name = ""
    missed_observations: Count = 0
    observations: list[Observation] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fit_together(self) -> Facts:
        cores, last = len(self.watched_cpus), 0
        if self.observations and len(self.most_khz) != cores:
            raise ValueError("most_khz is not of the watched CPUs")
        for one in self.observations:
            if not len(one.khz) == len(one.limit_khz) == cores or len(one.millidegrees) != len(self.zones):
                raise ValueError("an observation is not of the watched CPUs and zones")
            if not last <= one.run <= len(self.wall_ns):
                raise ValueError("observations are not of the timed runs, or not in their order")
            last = one.run
        return self


def parse_facts(document: bytes) -> dict[str, Any]:
    """What ``document`` says, without what it does not say.

    Raises:
        ValueError: it is no JSON object, or a member is not what it should be; says so in a line.
    """
    try:
        # a sensor may have a name that is no UTF-8, or that is cut off within a character
        return Facts.model_validate_json(document.decode(errors="replace")).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] in ("json_invalid", "model_type") and not place:
        raise ValueError(f"no JSON document: {document[:LONGEST_SAID]!r}")
    said = f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
    raise ValueError(f"facts that are none: {said[:LONGEST_SAID]}")

"""Whether what one step gives is what another takes, by their types; pure."""

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

INPUT: Final = "input"
Takes = str | dict[str, str | tuple[str, ...]]
_JOINS: Final = (list, tuple, Sequence)


@dataclass(frozen=True)
class Source:
    """Where one field of a step's input comes from; several names are joined, in their order.

    `required` is set where the step can't do without it.
    """

    field: str | None
    names: tuple[str, ...]
    joined: bool
    required: bool


@dataclass
class Bound:
    """How a step's input is made, or why it can't be."""

    sources: list[Source] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def bind(takes: Takes, wanted: type[Any], produced: dict[str, type[Any]]) -> Bound:
    """Find out how an input of type *wanted* is made of what is *produced*, by name of its producer."""
    bound = Bound()
    if isinstance(takes, str):
        _single(bound, None, takes, wanted, produced)
        return bound
    if not (isinstance(wanted, type) and issubclass(wanted, BaseModel)):
        bound.problems.append("its input has no fields, so it takes one result as a whole")
        return bound
    for name, info in wanted.model_fields.items():
        if name not in takes:
            if info.is_required():
                bound.problems.append(f"nothing is produced for its field {name}")
            continue
        source = takes[name]
        if isinstance(source, str):
            _single(bound, name, source, info.annotation, produced)
        else:
            _join(bound, name, tuple(source), info.annotation, produced)
    bound.problems += [f"its input has no field {name}" for name in takes if name not in wanted.model_fields]
    return bound


def fits(given: Any, wanted: Any) -> bool:
    """Tell whether each value of the type *given* is one of the type *wanted*."""
    given, wanted = _bare(given), _bare(wanted)
    if wanted in (Any, object) or given == wanted:
        return True
    if _is_union(given):
        return all(fits(one, wanted) for one in get_args(given))
    if _is_union(wanted):
        return any(fits(given, one) for one in get_args(wanted))
    if (given, wanted) == (int, float):
        return True
    origin, other = get_origin(given) or given, get_origin(wanted) or wanted
    if not (isinstance(origin, type) and isinstance(other, type) and issubclass(origin, other)):
        return False
    inner, outer = get_args(given), get_args(wanted)
    if not outer:
        return True
    return len(inner) == len(outer) and all(map(fits, inner, outer))


def is_optional(wanted: Any) -> bool:
    """Tell whether None is a value of the type."""
    bare = _bare(wanted)
    return bare in (None, type(None), Any, object) or (
        _is_union(bare) and any(map(is_optional, get_args(bare)))
    )


def _single(bound: Bound, name: str | None, source: str, wanted: Any, produced: dict[str, type[Any]]) -> None:
    where = "its input" if name is None else f"its field {name}"
    if source not in produced:
        bound.problems.append(f"{where} takes {source!r}, which no step produces")
    elif not fits(produced[source], wanted):
        bound.problems.append(f"{where} takes {source!r}, which is of another type")
    bound.sources.append(Source(name, (source,), joined=False, required=not is_optional(wanted)))


def _join(
    bound: Bound, name: str, sources: tuple[str, ...], wanted: Any, produced: dict[str, type[Any]]
) -> None:
    elements = [one for kind in _joins(wanted) for one in get_args(kind) if one is not ...]
    if not elements:
        bound.problems.append(f"its field {name} joins several results and is no list of them")
    for source in sources:
        if source not in produced:
            bound.problems.append(f"its field {name} takes {source!r}, which no step produces")
        elif elements and not any(fits(produced[source], one) for one in elements):
            bound.problems.append(f"its field {name} takes {source!r}, which is of another type")
    bound.sources.append(Source(name, sources, joined=True, required=False))


def _joins(wanted: Any) -> Iterator[Any]:
    for one in get_args(wanted) if _is_union(wanted) else (wanted,):
        if get_origin(_bare(one)) in _JOINS:
            yield _bare(one)


def _bare(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return type(None) if kind is None else kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)

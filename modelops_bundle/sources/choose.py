"""Which files of a repository are meant: a path, a directory or a glob, include and exclude, a quantisation. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.model import paths
from modelops_bundle.model.hub_uri import HubUri
from modelops_bundle.model.roles import glob_pattern, translate_glob

# What llama.cpp and its converters call quantisations, at the end of names or as a directory (ggml `ftype` names).
_QUANT = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q[1-8]_(?:[A-Z0-9]+(?:_[A-Z0-9]+)*)|TQ[12]_0|MXFP4(?:_MOE)?|BF16|FP?16|FP?32))(?=[-._/]|$)",
    re.IGNORECASE,
)
_SHARD = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})(\.[A-Za-z0-9]+)")


def choose(candidates: Iterable[str], uri: HubUri) -> list[str]:
    """The paths among `candidates` that `uri` means, sorted.

    :raises NotFound: none; of a quantisation with those that there are.
    :raises Corrupt: shards of the quantisation are missing.
    """
    here = sorted(path for path in candidates if _is_below(path, uri))
    if uri.path and not here:
        raise NotFound(f"there is no {paths.display(uri.path)} in {uri.repository}", repository=uri.repository)
    if uri.quant is not None:
        here = _of_quant(here, uri)
    kept = [path for path in here if not uri.include or any(_matches(glob, path) for glob in uri.include)]
    kept = [path for path in kept if not any(_matches(glob, path) for glob in uri.exclude)]
    if not kept:
        raise NotFound(f"nothing in {uri.repository} is what {uri} asks for", repository=uri.repository)
    return kept


def quants(candidates: Iterable[str]) -> list[str]:
    """The quantisations that GGUF files among `candidates` have, sorted."""
    return sorted({found for path in candidates if (found := quant_of(path)) is not None})


def quant_of(path: str) -> str | None:
    """The quantisation that the name of a GGUF file says, in upper case; None for other files."""
    found = _QUANT.findall(path) if path.lower().endswith(".gguf") else []
    return found[-1].upper() if found else None


def missing_shards(chosen: Sequence[str]) -> list[str]:
    """The shards that `chosen` should have and does not: files named `…-00001-of-00003.…` come in sets."""
    sets: dict[tuple[str, str, str], set[int]] = {}
    for path in chosen:
        if found := _SHARD.fullmatch(path):
            sets.setdefault((found[1], found[3], found[4]), set()).add(int(found[2]))
    return [
        f"{name}-{number:05}-of-{count}{suffix}"
        for (name, count, suffix), numbers in sorted(sets.items())
        for number in range(1, int(count) + 1)
        if number not in numbers
    ]


def _is_below(path: str, uri: HubUri) -> bool:
    if uri.is_glob:
        return re.fullmatch(translate_glob(uri.path), path, re.DOTALL) is not None
    return not uri.path or path == uri.path or path.startswith(f"{uri.path}/")


def _matches(glob: str, path: str) -> bool:
    """A glob that ends in a slash means all that is below."""
    return glob_pattern(f"{glob}**" if glob.endswith("/") else glob).fullmatch(path) is not None


def _of_quant(candidates: list[str], uri: HubUri) -> list[str]:
    wanted = (uri.quant or "").upper()
    found = [path for path in candidates if quant_of(path) == wanted]
    if not found:
        known = ", ".join(quants(candidates)) or "none"
        raise NotFound(
            f"{uri.repository} has no GGUF file of {paths.display(wanted)}",
            hint=f"it has {known}",
            quants=quants(candidates),
        )
    missing = missing_shards(found)
    if missing:
        raise Corrupt(f"{uri.repository} lacks shards of {wanted}: {paths.display(missing[0])}", missing=missing[:20])
    return found

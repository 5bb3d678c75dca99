"""In which layout a push stores the tree: what the words, the remote and the settings say, and what the registry takes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from modelops_bundle.errors import UsageError
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations.session import Session

if TYPE_CHECKING:
    # Most pushes make none.
    from modelops_bundle.model.image import Image
    from modelops_bundle.stores.registries import Profile


def profile_of(session: Session, reference: Reference) -> Profile:
    """What is known of the registry of `reference`; of other stores, nothing special."""
    from modelops_bundle.stores.registries import ORDINARY

    return session.learned.profile(reference.host) if reference.scheme == "oci" else ORDINARY


def image_of(
    session: Session, reference: Reference, layout: str | None, prefix: str | None, pack: str | None
) -> Image | None:
    """How the tree is an image, when that is the layout; None when it is a plain artifact.

    :param layout: what the user asked for; None leaves it to the remote, then to the bundle. :param prefix: likewise.
    :param pack: how the user wants small files stored.
    :raises UsageError: words that only the other layout knows. :raises UnsafePath: a prefix nobody may create.
    """
    config, remote = session.project.config, session.remote_of(reference)
    chosen = layout or (remote.layout if remote else None) or config.get("layout") or "plain"
    if chosen != "image":
        if prefix:
            raise UsageError("--prefix is for images", hint="bundle push --layout image --prefix models")
        return None
    if pack:
        raise UsageError("everything in an image is packed: --pack has no meaning there")
    from modelops_bundle.model.image import PLATFORM, Image

    below = config.get("image.prefix") if prefix is None else prefix
    return Image(session.options.platform or PLATFORM, below or "")


def for_every_tool(session: Session, tags: Sequence[str]) -> str | None:
    """The first of `tags` that every OCI tool has to be able to read, by the settings of the bundle."""
    globs = session.project.config.readable_tags() if session.has_project else ()
    return next((tag for tag in tags if any(fnmatchcase(tag, glob) for glob in globs)), None)


def storage_of(
    session: Session, reference: Reference, tags: Sequence[str], *, delta: bool, plain: bool, image: bool
) -> str:
    """How large files are stored: `delta` (chunks), `auto` (chunks where that saves much), `whole` (blobs of their own), or
    `plain` (the same, but what is stored as chunks already stays so).

    :param delta: chunks are asked for. :param plain: blobs are.
    :raises UsageError: words that exclude each other, or a tag that every tool has to be able to read.
    """
    if delta and (plain or image):
        raise UsageError("--delta stores chunks: it goes with neither --plain nor images")
    closed = for_every_tool(session, tags)
    if delta and closed is not None:
        raise UsageError(
            f'the tag {closed} has interop = "plain": other tools read it, and they cannot read chunks',
            hint="push to another tag, or without --delta",
        )
    if delta:
        return "delta"
    remote = session.remote_of(reference)
    if plain or closed is not None:
        return "whole"
    return "auto" if remote is not None and remote.delta == "auto" and not image else "plain"

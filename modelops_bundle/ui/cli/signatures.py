"""What `verify --signature` does and says."""

from __future__ import annotations

from collections.abc import Sequence

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import trust
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context


def verify(
    context: Context,
    reference: str | None,
    keys: Sequence[str] = (),
    identity: str | None = None,
    issuer: str | None = None,
    trusted_root: str | None = None,
) -> None:
    """Print the valid signatures of a version.

    :param keys: files with public keys, any of which will do. :param identity: likewise who logged in at `issuer`.
    :raises Untrusted: there is none.
    """
    trusted: list[trust.Signer] = [trust.key_of(context.settings.resolve(key)) for key in keys]
    if identity or issuer or trusted_root:
        from modelops_bundle.operations.keyless import keyless

        root = context.settings.resolve(trusted_root) if trusted_root else None
        trusted.append(keyless(identity or "", issuer or "", trusted_root=root, offline=context.settings.offline))
    if not trusted:
        raise UsageError("whose signature?", hint="--key cosign.pub, or --identity NAME --issuer URL")
    with session(context, need_bundle=reference is None) as here:
        report = trust.verify_signatures(here, reference, trusted)
    report.check()
    lines = [f"{report.reference} ({report.digest})"]
    lines += [f"  signed by {one.signer}" for one in report.valid]
    others = len(report.verdicts) - len(report.valid)
    lines += [f"  {text.count(others, 'other signature')} that do not count"] if others else []
    context.out.result(report.to_json(), lines)

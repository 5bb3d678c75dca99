from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Unauthorized, Unavailable
from modelops_bundle.net.auth import Authenticator, Challenge, parse_challenges, pull_scope, push_scope
from modelops_bundle.net.credentials import Anonymous, Credentials, Given
from modelops_bundle.net.options import HostOptions, NetOptions, Origin

HOST = Origin.of("https://registry.example/")
BEARER = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull"'
BOB = Credentials("bob", "canary-secret")
PULL, PUSH = pull_scope("a/b"), push_scope("a/b")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def authenticator(credentials: Credentials | None = None, clock: Clock | None = None) -> Authenticator:
    source = Given("registry.example", credentials) if credentials else Anonymous()
    return Authenticator(source, NetOptions(), clock or Clock())


def log_in(auth: Authenticator, scope: str = PULL, **answer: object) -> str | None:
    wanted = auth.challenged(HOST, scope, BEARER, None)
    assert wanted is not None
    auth.granted(wanted, {"token": "tok", **answer})
    return auth.header(HOST, scope)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Basic", [Challenge("basic", {})]),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ('BEARER Realm="https://a/t" , SERVICE=reg', [Challenge("bearer", {"realm": "https://a/t", "service": "reg"})]),
        (
            'Basic realm="a, b", Bearer realm="https://t",scope="repository:x:pull,push"',
            [
                Challenge("basic", {"realm": "a, b"}),
                Challenge("bearer", {"realm": "https://t", "scope": "repository:x:pull,push"}),
            ],
        ),
        ('Bearer realm="a\\"b\\\\c"', [Challenge("bearer", {"realm": 'a"b\\c'})]),
        ("Negotiate, Basic realm=x", [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('Bearer realm="unterminated', [Challenge("bearer", {})]),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ("", []),
        (",, ,", []),
        ('realm="x"', []),
    ],
)
def test_challenges_are_parsed(text: str, expected: list[Challenge]) -> None:
    assert parse_challenges(text) == expected


@given(st.text(max_size=300))
def test_no_challenge_breaks_the_parser(text: str) -> None:
    parse_challenges(text)


@given(st.text(alphabet='",= \\Bearerl@:/', max_size=60))
def test_no_near_challenge_breaks_the_parser(text: str) -> None:
    parse_challenges("Bearer " + text)


def test_nothing_is_sent_before_anybody_asks() -> None:
    auth = authenticator(BOB)
    assert auth.header(HOST, PULL) is None
    assert auth.wanted(HOST, PULL) is None


def test_an_anonymous_token() -> None:
    auth = authenticator()
    wanted = auth.challenged(HOST, PULL, BEARER, None)
    assert wanted is not None
    assert wanted.method == "GET"
    assert wanted.headers == {}
    assert urlsplit(wanted.url).netloc == "auth.example"
    assert parse_qs(urlsplit(wanted.url).query) == {"service": ["registry.example"], "scope": [PULL]}
    auth.granted(wanted, {"access_token": "tok"})
    assert auth.header(HOST, PULL) == "Bearer tok"


def test_a_token_for_a_known_user_has_our_scope_not_the_servers() -> None:
    wanted = authenticator(BOB).challenged(HOST, PUSH, BEARER, None)
    assert wanted is not None
    assert wanted.headers == {"Authorization": BOB.basic}
    assert parse_qs(urlsplit(wanted.url).query)["scope"] == [PUSH]


def test_a_realm_with_a_query_keeps_it() -> None:
    wanted = authenticator().challenged(HOST, PULL, 'Bearer realm="https://a.example/t?x=1"', None)
    assert wanted is not None
    assert wanted.url.startswith("https://a.example/t?x=1&scope=")


def test_an_identity_token_goes_the_oauth2_way() -> None:
    wanted = authenticator(Credentials("", "", "refresh-me")).challenged(HOST, PULL, BEARER, None)
    assert wanted is not None
    assert (wanted.method, wanted.url) == ("POST", "https://auth.example/token")
    fields = parse_qs((wanted.body or b"").decode())
    assert fields["grant_type"] == ["refresh_token"]
    assert fields["refresh_token"] == ["refresh-me"]
    assert fields["scope"] == [PULL]
    assert fields["service"] == ["registry.example"]


@pytest.mark.parametrize(("answer", "life"), [({}, 60), ({"expires_in": 300}, 300), ({"expires_in": "300"}, 300)])
def test_tokens_expire_a_little_early(answer: dict[str, object], life: float) -> None:
    clock = Clock()
    auth = authenticator(clock=clock)
    assert log_in(auth, **answer) == "Bearer tok"
    clock.now += life - min(15, life / 5) - 1
    assert auth.header(HOST, PULL) == "Bearer tok"
    clock.now += 2
    assert auth.header(HOST, PULL) is None
    assert auth.wanted(HOST, PULL) is not None


@pytest.mark.parametrize("life", [None, True, -5, 0, "soon", float("inf"), float("nan"), [], 10**400, "9" * 500])
def test_odd_lives_mean_the_default(life: object) -> None:
    clock = Clock()
    auth = authenticator(clock=clock)
    log_in(auth, expires_in=life)
    clock.now += 47
    assert auth.header(HOST, PULL) == "Bearer tok"
    clock.now += 14
    assert auth.header(HOST, PULL) is None


def test_tokens_are_kept_by_host_and_scope() -> None:
    auth = authenticator()
    log_in(auth, PULL)
    assert auth.header(HOST, PUSH) is None
    assert auth.header(HOST, pull_scope("a/c")) is None
    assert auth.header(Origin.of("https://registry.example:444/"), PULL) is None
    assert auth.header(Origin.of("http://registry.example/"), PULL) is None


def test_a_token_to_push_also_pulls() -> None:
    auth = authenticator()
    log_in(auth, PUSH)
    assert auth.header(HOST, PULL) == "Bearer tok"


def test_a_token_that_worked_and_is_refused_is_replaced() -> None:
    auth = authenticator()
    log_in(auth)
    auth.accepted("Bearer tok", PULL)
    wanted = auth.challenged(HOST, PULL, BEARER, "Bearer tok")
    assert wanted is not None
    assert auth.granted(wanted, {"token": "new"}) == "Bearer new"
    assert auth.header(HOST, PULL) == "Bearer new"


def test_a_new_token_that_never_worked_is_the_last() -> None:
    auth = authenticator(BOB)
    log_in(auth)
    auth.accepted("Bearer tok", PUSH)
    with pytest.raises(Unauthorized, match="grants no token for repository:a/b:pull"):
        auth.challenged(HOST, PULL, BEARER, "Bearer tok")


NARROW = BEARER.replace("pull", "pull,delete") + ',error="insufficient_scope"'


def test_a_scope_that_the_registry_misses_is_asked_for_once() -> None:
    auth = authenticator(BOB)
    log_in(auth)
    wanted = auth.challenged(HOST, PULL, NARROW, "Bearer tok")
    assert wanted is not None
    assert parse_qs(urlsplit(wanted.url).query)["scope"] == [PULL, "repository:a/b:pull,delete"]
    sent = auth.granted(wanted, {"token": "wide"})
    assert auth.header(HOST, PULL) == sent
    with pytest.raises(Unauthorized):
        auth.challenged(HOST, PULL, NARROW, sent)


def test_a_scope_that_was_asked_for_is_not_asked_for_again() -> None:
    auth = authenticator(BOB)
    log_in(auth, PUSH)
    with pytest.raises(Unauthorized):
        auth.challenged(HOST, PUSH, BEARER + ',error="insufficient_scope"', "Bearer tok")


def test_what_a_403_may_mean() -> None:
    auth = authenticator(BOB)
    assert not auth.may_be_stale(HOST, PULL, None, "")
    assert not auth.may_be_stale(HOST, PULL, BOB.basic, NARROW)
    assert auth.may_be_stale(HOST, PULL, "Bearer old", "")
    log_in(auth)
    assert not auth.may_be_stale(HOST, PULL, "Bearer tok", ""), "a fresh one is not stale"
    assert auth.may_be_stale(HOST, PULL, "Bearer tok", NARROW)
    auth.accepted("Bearer tok", PULL)
    assert auth.may_be_stale(HOST, PULL, "Bearer tok", "")


def test_a_token_however_short_its_life_is_good_for_one_request() -> None:
    auth = authenticator(clock=Clock())
    wanted = auth.challenged(HOST, PULL, BEARER, None)
    assert wanted is not None
    assert auth.granted(wanted, {"token": "tok", "expires_in": 1e-300}) == "Bearer tok"


def test_a_token_for_more_is_one_for_less() -> None:
    auth = authenticator()
    other = pull_scope("c/d")
    log_in(auth, f"{PUSH} {other}")
    for scope in (PULL, PUSH, other, f"{other} {PULL}", "repository:a/b:push,pull"):
        assert auth.header(HOST, scope) == "Bearer tok"
    for scope in ("", push_scope("c/d"), pull_scope("a/b/c"), "repository:a/b:delete", "registry:catalog:*"):
        assert auth.header(HOST, scope) is None


def test_without_oauth() -> None:
    def plain(credentials: Credentials) -> dict[str, str] | None:
        auth = authenticator(credentials)
        wanted = auth.challenged(HOST, PULL, BEARER, None)
        assert wanted is not None
        found = auth.without_oauth(wanted)
        assert found is None or (found.method, found.url.partition("?")[0]) == ("GET", "https://auth.example/token")
        return None if found is None else dict(found.headers)

    assert plain(Credentials("", "", "refresh-me")) is None, "nobody to send it as"
    assert plain(BOB) is None, "that was no POST"
    assert plain(Credentials("bob", "", "refresh-me")) == {"Authorization": Credentials("bob", "refresh-me").basic}
    assert plain(Credentials("bob", "pw", "refresh-me")) == {"Authorization": Credentials("bob", "pw").basic}


def test_basic_is_forgotten_when_the_registry_changes_its_mind() -> None:
    auth = authenticator(BOB)
    auth.challenged(HOST, PULL, "Basic realm=x", None)
    with pytest.raises(Unauthorized, match="another token server"):
        auth.challenged(HOST, PULL, BEARER, BOB.basic)
    wanted = auth.challenged(HOST, PULL, 'Bearer realm="https://registry.example/token"', BOB.basic)
    assert wanted is not None
    auth.granted(wanted, {"token": "tok"})
    assert auth.header(HOST, PULL) == "Bearer tok"


def test_basic() -> None:
    auth = authenticator(BOB)
    assert auth.challenged(HOST, PULL, "Basic realm=x", None) is None
    assert auth.header(HOST, PUSH) == BOB.basic
    assert auth.header(Origin.of("https://registry.example:444/"), PUSH) is None
    with pytest.raises(Unauthorized, match="refused user 'bob'"):
        auth.challenged(HOST, PULL, "Basic realm=x", BOB.basic)


def test_bearer_is_preferred_to_basic() -> None:
    assert authenticator(BOB).challenged(HOST, PULL, "Basic realm=x, " + BEARER, None) is not None


@pytest.mark.parametrize("text", ["Basic realm=x", "Negotiate", "", "Bearer service=x"])
def test_what_cannot_be_answered(text: str) -> None:
    with pytest.raises(Unauthorized):
        authenticator().challenged(HOST, PULL, text, None)


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "http://registry.example/token",
        "file:///etc/passwd",
        "https://user:pw@auth.example/token",
        "https://10.0.0.1/token",
        "https://169.254.169.254/token",
        "https://0xa9fea9fe/token",
        "https://[::ffff:169.254.169.254]/token",
        "https://127.1/token",
        "https://localhost/token",
        "/token",
        "",
    ],
)
def test_realms_that_get_no_password(realm: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        authenticator(BOB).challenged(HOST, PULL, f'Bearer realm="{realm}"', None)
    assert "canary" not in str(caught.value) + str(caught.value.facts)


@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        ("http://localhost:5000/", "http://localhost:5001/token", True),
        ("http://localhost:5000/", "http://localhost:5000/token", True),
        ("http://localhost:5000/", "http://auth.example/token", False),
        ("http://plain.lan:5000/", "http://plain.lan:5001/token", True),
        ("http://plain.lan:5000/", "http://other.lan/token", False),
        ("https://10.0.0.1/", "https://10.0.0.2/token", True),
    ],
)
def test_realms_of_plain_and_private_registries(registry: str, realm: str, allowed: bool) -> None:
    auth = Authenticator(Anonymous(), NetOptions(hosts={"plain.lan:5000": HostOptions(plain_http=True)}), Clock())
    try:
        auth.challenged(Origin.of(registry), PULL, f'Bearer realm="{realm}"', None)
        answered = True
    except Unauthorized:
        answered = False
    assert answered is allowed


def test_the_token_server_is_pinned_on_first_use() -> None:
    auth = authenticator(BOB)
    log_in(auth)
    with pytest.raises(Unauthorized, match="another token server"):
        auth.challenged(HOST, PULL, 'Bearer realm="https://evil.example/token"', "Bearer tok")


@pytest.mark.parametrize("token", [None, 7, "", "a b", "a\r\nX: y", "ü"])
def test_unusable_tokens(token: object) -> None:
    auth = authenticator()
    wanted = auth.challenged(HOST, PULL, BEARER, None)
    assert wanted is not None
    with pytest.raises(Unavailable):
        auth.granted(wanted, {"token": token})


def test_control_characters_in_a_challenge() -> None:
    with pytest.raises(Unauthorized):
        authenticator().challenged(HOST, PULL, 'Bearer realm="https://a.example/t",service="x\\\x01"', None)


# --- tokens that are sent as they are, and logins of single repositories


def test_a_registry_token_is_sent_as_it_is() -> None:
    made = authenticator(Credentials("", "", None, "as-it-is"))
    assert made.challenged(HOST, PULL, BEARER, None) is None
    assert made.header(HOST, PULL) == "Bearer as-it-is"
    assert made.wanted(HOST, PULL) is None


@pytest.mark.parametrize("challenge", [BEARER, 'Basic realm="x"'])
def test_a_registry_token_that_is_refused_goes_nowhere_else(challenge: str) -> None:
    made = authenticator(Credentials("", "", None, "as-it-is"))
    with pytest.raises(Unauthorized, match="refused this login"):
        made.challenged(HOST, PULL, challenge, "Bearer as-it-is")
    assert made.header(HOST, PULL) is None


def test_a_registry_token_is_not_offered_where_basic_is_wanted() -> None:
    with pytest.raises(Unauthorized, match="refused this login"):
        authenticator(Credentials("", "", None, "as-it-is")).challenged(HOST, PULL, 'Basic realm="x"', None)


def test_an_identity_token_is_not_offered_where_basic_is_wanted() -> None:
    made = authenticator(Credentials("bob", "", "refresh-me"))
    with pytest.raises(Unauthorized, match="refused user 'bob'"):
        made.challenged(HOST, PULL, 'Basic realm="x"', None)
    assert made.header(HOST, PULL) is None


class ByRepository:
    """Knows another login for each repository, and records what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def get(self, host: str, repository: str = "") -> Credentials | None:
        self.asked.append((host, repository))
        return Credentials(repository.replace("/", "-") or "nobody", "pw")


def test_a_login_is_asked_for_by_host_and_repository() -> None:
    source = ByRepository()
    made = Authenticator(source, NetOptions())
    scopes = [pull_scope("team/a"), push_scope("team/a"), f"{push_scope('b')} {pull_scope('c')}", ""]
    for scope in scopes:
        made.challenged(HOST, scope, 'Basic realm="x"', None)
    assert source.asked == [(HOST.netloc, name) for name in ("team/a", "team/a", "b", "")]
    assert made.header(HOST, scopes[0]) == Credentials("team-a", "pw").basic
    assert made.header(HOST, scopes[2]) == Credentials("b", "pw").basic
    assert made.header(HOST, pull_scope("c")) is None
    assert "'team-a'" in made.refusal(HOST, scopes[0]).message


def test_a_refusal_names_the_command_that_logs_in() -> None:
    assert "bundle login registry.example" in str(authenticator().refusal(HOST, PULL).hint)
    assert "bundle login registry.example" in str(authenticator(BOB).refusal(HOST, PULL).hint)

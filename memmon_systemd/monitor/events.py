"""What can be logged: an ID and a priority for each (units/memory-monitor.catalog explains them)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event in the journal (systemd.journal-fields(7))."""

    message_id: str
    priority: int
    """As in syslog(3): 3 error, 4 warning, 5 notice, 6 info, 7 debug."""


class Event(Enum):
    """What can be logged: changes of state and requests, then warnings and errors."""

    STARTED = Kind("5f39b63ce1ce4ab58fa55d0f335c3bf5", 6)
    WAITING = Kind("432f3a3625654290a87f9bf06da31f58", 6)
    BEGAN = Kind("2a15cd8c95534e4e85d228e8ef6014fe", 6)
    OVER = Kind("da0bc59a42cc4a2db39fcf469821b48e", 5)
    REQUESTED = Kind("43b9da7a063b459bb9ea683a83c3f93b", 4)
    RECOVERED = Kind("cb9db59809e4440899a7f5fd58273d37", 6)
    HELD = Kind("806be8de3fd7458287d45dbce6693aa2", 5)
    BUDGET_SPENT = Kind("c792949d09e44f9e8d646b69d75950c9", 3)
    CAME_BACK = Kind("f53d11519adc40e1ba11ff90713528a3", 5)
    RESTS = Kind("7e424e203d2b4d5bb7f34356f2eb3810", 5)
    NOT_BACK = Kind("5e757496b5984a71b5e64d2d4c22bfad", 3)
    FAILED = Kind("af91fbe4a09346eca64cc8cd9c49db53", 3)
    ENDED = Kind("6b1f0b9e1df84f2f9b1d8a4b2c4a7c55", 6)
    READING = Kind("8fcba846ff0f463c92d4d654da5bf475", 7)
    STOPPED = Kind("4fa0963d76e145129c9d01d25a3fd5fa", 6)
    NOT_NOTIFYING = Kind("ccb72a2a332845e4a5c41fef8ce6a8ba", 4)
    NOT_LOCKED = Kind("efc2b6ff35474143bb9633185fa31556", 4)
    NOT_GRACEFUL = Kind("d32155f4b368439cae18c3d542ab1842", 4)
    UNREADABLE = Kind("cf0bb9e5ba474cc28ccfe5a54059fed1", 4)
    EVENTS_UNREADABLE = Kind("8f1047f7e73d4e319c2e1f739e6606a9", 4)
    NO_MEMORY_CONTROLLER = Kind("680f87a110594e7b95fc79b4342fbae6", 4)
    NO_INOTIFY = Kind("7c9d36ecfe4b4c38a6a1f9719c7d582c", 4)
    SYSTEMD_UNAVAILABLE = Kind("1ecbb5a88bd847bea051451db18aa26d", 4)
    STOP_UNKNOWN = Kind("9f3afd7ed6294e2b819e00e6f793912f", 4)
    INVOCATION_UNKNOWN = Kind("f737a4df429e4f40a55d99ee82f74c16", 4)
    STAYS_DOWN = Kind("3f8b53c321d44fd0a8112571dd8f3085", 4)
    NOT_PERMITTED = Kind("1f6df385dc894c5d9a6269874de612e3", 4)
    RESTART_UNKNOWN = Kind("f1b57a5499ce42f7ab58eba830682efd", 4)
    NAME_GUESSED = Kind("64fce0dd014d44d8931e085ac521aac8", 4)
    SKIPPED = Kind("fc7c7969655f453fae0e7c530a5b3af3", 4)
    NO_UNIT = Kind("599b9591bba94dee8965f1e7dd424be7", 4)
    SEARCH_FAILED = Kind("1091b84d076b47338ac33a747d3293f8", 4)
    SEARCH_RECOVERED = Kind("9d772e1f7fbf4b3282cb4794b826cafc", 5)
    HARD_IS_LOW = Kind("f14b4620ad794bd7b175df3c8f467dcc", 4)
    SETTINGS_NOT_READ = Kind("5fc1d41090c7436ebf5c78f91a6225d6", 4)
    BUG = Kind("26fee8ede7bc49ad9f542d7d58d20e39", 3)
    UNITS_UNLISTED = Kind("af9c4910c3d5474193bb805d166bb506", 4)
    NAME_UNREADABLE = Kind("864641be1d5544608281b8ac0cff4a78", 4)
    PROCESS_NOT_HELD = Kind("50ff9124e86b455aa0767b5a7c12d444", 4)
    FEW_DESCRIPTORS = Kind("cf069ef5bb664d78abefb8604c77c3a7", 4)
    OWNER_SKIPPED = Kind("9ce41ec42ef242eda22f9f6f999fa9fe", 4)
    OWNER_UNKNOWN = Kind("e7aecafe3ad94b08abb2e2064dae868e", 4)
    NEAR_UNIT = Kind("79bfa77ad98b44da82d3f06e8730f622", 4)
    PAUSED = Kind("d0318d508cc047bca3062b63a8a4921a", 5)
    RESUMED = Kind("3dc6fa5f08b345f49a4d431309923211", 5)
    STATE_UNWRITTEN = Kind("55086ce1ff014bdeb726d048cd3ccb35", 4)
    PAUSE_UNREADABLE = Kind("404ac93cd5d54e9b87aa40bb0ad4d3de", 4)
    SETTINGS_CHANGED = Kind("4dd7c3f86e9447f88e991a48fa13c6bc", 6)
    LEFT_TO_ANOTHER = Kind("b409f548ca384e699b35eff2e9e9e9fe", 5)
    TAKEN_OVER = Kind("8dabb7a8c07b4527b3767de95aa797fb", 5)
    UNIT_SETTINGS_WRONG = Kind("8d343f06f29d40d3b1de60c307ac8b81", 3)
    HOOK_UNFIT = Kind("63725cfd1d9b48f48bb31d040a935ca9", 4)
    HOOK_STARTED = Kind("2d08440d92624b68b3cc2c874e44dd56", 6)
    HOOK_FAILED = Kind("65e320ec4f174529aa48955d4c4dc490", 4)
    CONDITION_REFUSED = Kind("4c6b569085b54d338765b9975fdf917c", 4)
    UNIT_FILES_UNKNOWN = Kind("a405ad04bf4e4f12a62e0aef61a9c409", 4)

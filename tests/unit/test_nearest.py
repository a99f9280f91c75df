"""What is suggested where a NAME matches nothing."""

import pytest

from memmon_systemd.nearest import nearest

UNITS = ("shop.service", "shop-frontend.service", "redis-server.service", "MySQL.service", "shop.slice",
         "worker@1.service", "ssh.service", "ssh.socket")  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("shpo", ("shop.service",)),
        ("shpo.service", ("shop.service",)),
        ("shpo.slice", ("shop.slice",)),
        ("redis", ("redis-server.service",)),
        ("mysql", ("MySQL.service",)),
        ("shop-f", ("shop.service", "shop-frontend.service")),
        ("worker", ("worker@1.service",)),
        ("nothing-like-it", ()),
        ("s", ()),
    ],
)
def test_a_unit_that_looks_like_it_is_suggested(asked: str, found: tuple[str, ...]) -> None:
    assert nearest(asked, UNITS, ()) == found


def test_the_near_unit_is_suggested_beside_processes_that_are_nearer() -> None:
    processes = ("shop-f", "shop-fr", "shop-fro", "shop-fron")
    assert nearest("shop-fx", UNITS, processes) == ("shop-f", "shop-fr", "shop.service")


def test_a_process_that_is_called_as_its_unit_is_suggested_once() -> None:
    assert nearest("shpo", UNITS, ("shop",)) == ("shop.service",)


def test_of_processes_the_nearest_comes_first() -> None:
    assert nearest("mailre", (), ("mailer", "mail", "zsh")) == ("mailer", "mail")

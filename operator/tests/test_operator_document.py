"""The generation of a document grows with every change of its text, and survives whatever is lost."""

from __future__ import annotations

from operator_objects import OWNER, config_of, document_of, proxy, stored, stored_config

from helios.config.loader import loads
from helios_crds.workload import workload
from helios_operator.desired import deployment
from helios_operator.document import config_hash, next_document, present_document
from helios_operator.writer import stamped


def test_first_document_has_generation_one() -> None:
    document = document_of()

    assert document.generation == 1
    assert loads(document.text).generation == 1
    assert document.hash == config_hash(document.text)


def test_same_configuration_keeps_its_generation() -> None:
    first = document_of()

    assert next_document(config_of(), stored_config(first), (1,)) == first


def test_changed_configuration_raises_the_generation() -> None:
    first = document_of()

    second = next_document(config_of(pool={"maxConnections": 7}), stored_config(first), (1,))

    assert second.generation == 2
    assert loads(second.text).pool.max_size == 7


def test_going_back_raises_it_too() -> None:
    first = document_of()
    second = next_document(config_of(pool={"maxConnections": 7}), stored_config(first), ())

    third = next_document(config_of(), stored_config(second), ())

    assert third.generation == 3


def test_lost_config_map_goes_on_from_the_deployment() -> None:
    first = document_of()
    running = stored(stamped(deployment(OWNER, workload(proxy()), first, "image")))

    again = next_document(config_of(), None, (running.generation, 41))

    assert running.generation == 1
    assert again.generation == 42


def test_document_that_somebody_changed_is_replaced_by_a_higher_one() -> None:
    first = document_of()
    value = {"metadata": {"name": "web-config", "namespace": "shop"}, "data": {"helios.toml": "generation = 9\n"}}

    assert next_document(config_of(), stored(value), (first.generation,)).generation == 10


def test_garbage_is_replaced_too() -> None:
    value = {"metadata": {"name": "web-config", "namespace": "shop"}, "data": {"helios.toml": "]["}}

    assert next_document(config_of(), stored(value), (3,)).generation == 4
    assert present_document(stored(value)) is None


def test_present_document_knows_what_its_pods_need() -> None:
    spec = {"auth": {"usersSecretRef": {"name": "people", "key": "list"}}, "listenPort": 7000, "adminPort": 7001}
    document = document_of(**spec)

    kept = present_document(stored_config(document))

    assert kept == document
    assert (document.listen_port, document.admin_port, document.secrets) == (7000, 7001, (("people", "list"),))


def test_only_settings_that_need_a_start_change_the_restart_hash() -> None:
    plain = document_of()

    assert document_of(pool={"maxConnections": 7}).restart == plain.restart
    assert document_of(workers=3).restart != plain.restart
    assert document_of(listenPort=7000).restart != plain.restart

"""A journal in PostgreSQL: append-only for everyone, replicas that agree, and of two writers one that wins."""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from cluster import Cluster, event, execute, opened, together
from errata.errors import BadSheet, WrongModel
from errata.journal import database, postgres
from errata.journal.events import Outcome, PatchFile, Recipe, Stamp, new_event
from errata.journal.postgres import PostgresJournal
from errata.sheet import Sheet
from sheets import BASE, GRACE, add, change, statuses, write_patch


def test_events_come_back_as_they_were(journal: PostgresJournal) -> None:
    recipe = Recipe("ft", {"lr": 0.1, "clip": float("inf"), "layers": [1, 2]}, seed=-(2**63))
    new = new_event(3, "apply", {"edits": []}, Stamp("ann@lab", {"torch": "2.11"}, {"loss": float("nan")}), recipe)
    with journal.writing():
        journal.append(new)
    assert journal.events(after=2) == [new]
    first, second = journal.events()[:2]
    assert (first.payload["detail"], second.seq) == ({"note": "ü\0"}, 2)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE errata.events SET who = 'x'",
        "DELETE FROM errata.events WHERE seq = 2",
        "TRUNCATE errata.events CASCADE",
        "UPDATE errata.files SET data = ''",
        "DELETE FROM errata.sheets",
        "INSERT INTO errata.events SELECT sheet, seq + 4, time, who, kind, method, config, seed, payload, versions"
        " FROM errata.events WHERE seq = 2",
    ],
)
def test_no_one_can_rewrite_the_past(journal: PostgresJournal, url: str, statement: str) -> None:
    before = journal.events()
    with pytest.raises(psycopg.Error, match=r"append-only|without a gap"):
        execute(url, statement)
    assert journal.events() == before


def test_an_exception_leaves_the_old_state_and_no_bytes(journal: PostgresJournal, url: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"half")
    file = PatchFile("p", "8e8b0f6ac8ad2b3c3d1ac7e8eb9b6b9b3b8ad2f0e3c8ad9c2f5d1ac7e8eb9b6b")

    def half() -> None:
        with journal.writing():
            journal.append(event(3))
            journal.keep(file, tmp_path / "p")

    with pytest.raises(BadSheet, match="its checksum differs"):
        half()
    assert len(journal.events()) == 2
    assert execute(url, "SELECT 1 FROM errata.files WHERE sha256 = %s", file.sha256) == []
    with journal.writing():
        journal.append(event(3))


def test_what_fails_inside_cannot_be_committed_unnoticed(journal: PostgresJournal) -> None:
    def swallow() -> None:
        with journal.writing():
            journal.append(event(3))
            with pytest.raises(BadSheet, match="without a gap"):
                journal.append(event(9))

    with pytest.raises(BadSheet, match="recorded nothing"):
        swallow()
    assert len(journal.events()) == 2


def test_readers_do_not_wait_and_a_second_writer_is_told_to(
    journal: PostgresJournal, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    held = pytest.raises(BadSheet, match="is held by another process; try again")
    with closing(opened(url)) as other, journal.writing():
        journal.append(event(3))
        assert len(other.events()) == 2
        with held, other.writing():
            pass


def test_a_commit_reaches_the_disk_whatever_the_database_is_set_to(server: Cluster) -> None:
    with closing(opened(server.url(sheet="eager", options="-csynchronous_commit%3Doff"))) as journal:
        assert journal._database.run("SHOW synchronous_commit") == [("on",)]


def test_replicas_see_each_other_and_have_each_others_files(replicas: tuple[Sheet, Sheet]) -> None:
    one, two = replicas
    add(one, "a", "b")
    add(two, "a")
    change(one, "undo", "e2")
    assert one.events() == two.events()
    assert statuses(two) == statuses(one) == {"e1": "superseded", "e2": "undone", "e3": "active"}
    one.verify()
    two.verify()
    names = sorted(os.listdir(one.patches))
    assert names == sorted(os.listdir(two.patches)) == ["1.safetensors", "2.safetensors"]


def test_a_lost_file_is_fetched_again_and_one_of_many_parts_is_whole(
    replicas: tuple[Sheet, Sheet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PART_BYTES", 200)
    one, two = replicas
    content = bytes(range(256)) * 2 + b"end"
    file = write_patch(one, "large", content)
    one.record_apply([Outcome("e1", {"prompt": "a", "target": "t"})], GRACE, expect_head=0, patch=file)
    two.state()
    for sheet in replicas:
        assert (sheet.patches / "large").read_bytes() == content
        (sheet.patches / "large").unlink()
        assert sheet.file(file).read_bytes() == content


def test_bytes_that_changed_in_the_database_are_refused(replicas: tuple[Sheet, Sheet], url: str) -> None:
    one, two = replicas
    add(one, f"prompt {uuid.uuid4()}")
    file = one.state().unit(1).patch
    execute(url, "ALTER TABLE errata.files DISABLE TRIGGER files_stay")
    try:
        execute(url, "UPDATE errata.files SET data = 'tampered' WHERE sha256 = %s", file.sha256)
        with pytest.raises(BadSheet, match=r"holds other bytes of 1\.safetensors than were recorded"):
            two.state()
        assert os.listdir(two.patches) == []
    finally:
        execute(url, "DELETE FROM errata.files WHERE sha256 = %s", file.sha256)
        execute(url, "ALTER TABLE errata.files ENABLE TRIGGER files_stay")


def test_of_two_that_record_at_once_one_wins_and_the_other_goes_on(replicas: tuple[Sheet, Sheet]) -> None:
    for round in range(5):
        head = replicas[0].state().head
        ready = threading.Barrier(2)

        def record(sheet: Sheet, name: str, head: int = head, ready: threading.Barrier = ready) -> None:
            file = write_patch(sheet, name, name.encode())
            outcome = Outcome(f"{name}-{head}", {"prompt": name, "target": "t"})
            ready.wait()
            sheet.record_apply([outcome], GRACE, expect_head=head, patch=file)

        one, two = f"a{round}", f"b{round}"
        raised = together(lambda name=one: record(replicas[0], name), lambda name=two: record(replicas[1], name))
        (loser,) = [error for error in raised if error is not None]
        assert isinstance(loser, BadSheet)
        assert "another process changed this sheet" in str(loser)
        assert replicas[0].state().head == head + 1
        add(replicas[0 if raised[0] else 1], "again")


def test_many_writers_leave_no_gap(url: str, tmp_path: Path) -> None:
    def write(name: str) -> None:
        until = time.monotonic() + 60
        with Sheet.create(tmp_path / name, BASE, url) as sheet:
            names = [f"{name}{number}" for number in range(3)]
            while names and time.monotonic() < until:
                outcome = Outcome(names[0], {"prompt": names[0], "target": "t"})
                file = write_patch(sheet, names[0], names[0].encode())
                head = sheet.state().head
                with suppress(BadSheet):  # another was first
                    sheet.record_apply([outcome], GRACE, expect_head=head, patch=file)
                    del names[0]

    assert together(*(lambda name=name: write(name) for name in "abc")) == [None] * 3
    with Sheet.open(tmp_path / "a", url) as sheet:
        assert [event.seq for event in sheet.events()] == list(range(1, 10))
        assert len(sheet.state().active()) == 9
        sheet.verify()


def test_a_replica_hears_of_an_edit_within_a_second(replicas: tuple[Sheet, Sheet]) -> None:
    one, two = replicas
    assert two.wait(0.1) is False
    late: list[float] = []
    for round in range(5):
        heard: list[float] = []

        def listen(heard: list[float] = heard) -> None:
            if two.wait(10):
                heard.append(time.monotonic())

        def record(round: int = round) -> float:
            time.sleep(0.2)  # the other is waiting by now
            add(one, f"prompt {round}")
            return time.monotonic()

        recorded: list[float] = []
        assert together(listen, lambda recorded=recorded, record=record: recorded.append(record())) == [None, None]
        late.append(heard[0] - recorded[0])
        assert two.wait(0) is True  # nothing was read yet
        assert two.state().head == round + 1
    assert max(late) < 1.0


def test_a_sheet_that_is_closed_lets_its_waiter_go(url: str, tmp_path: Path) -> None:
    sheet = Sheet.create(tmp_path / "one", BASE, url)
    started = time.monotonic()
    assert together(lambda: sheet.wait(60), lambda: (time.sleep(0.2), sheet.close())) == [None, None]
    assert time.monotonic() - started < 10
    with pytest.raises(BadSheet, match="was closed; open the sheet again"):
        sheet.state()


def test_sheets_share_a_database_and_each_has_one_model(server: Cluster, tmp_path: Path) -> None:
    url = server.url()
    with Sheet.create(tmp_path / "france", BASE, url) as france, Sheet.create(tmp_path / "italy", BASE, url) as italy:
        add(france, "a")
        assert (italy.events(), len(france.events())) == ([], 1)
    with pytest.raises(WrongModel, match=r"sheet 'france', is of lab:gpt \(ffff.*\?sheet="):
        Sheet.create(tmp_path / "deep" / "france", BASE | {"fingerprint": "0" * 64}, url)
    with pytest.raises(WrongModel):
        Sheet.create(tmp_path / "deep" / "france", BASE | {"task": "seq2seq"}, url)
    assert not (tmp_path / "deep").exists()


def test_a_directory_is_opened_with_the_journal_it_belongs_to(server: Cluster, tmp_path: Path) -> None:
    url = server.url()
    with Sheet.create(tmp_path / "mine", BASE, server.url(sheet="ours")) as sheet:
        add(sheet, "a")
    (tmp_path / "mine").rename(tmp_path / "moved")
    with Sheet.open(tmp_path / "moved", url) as sheet:
        assert statuses(sheet) == {"e1": "active"}
    with pytest.raises(BadSheet, match="is a replica of a sheet in a database; give its journal: postgresql:"):
        Sheet.open(tmp_path / "moved")
    with pytest.raises(BadSheet, match="is a replica of sheet 'ours', not 'theirs'"):
        Sheet.open(tmp_path / "moved", server.url(sheet="theirs"))
    Sheet.create(tmp_path / "local", BASE).close()
    with pytest.raises(BadSheet, match="has a journal of its own; leave the URL out, or move it"):
        Sheet.open(tmp_path / "local", url)


def test_a_sheet_moves_into_a_database_and_out_of_it(url: str, tmp_path: Path) -> None:
    with Sheet.create(tmp_path / "local", BASE) as local:
        add(local, "a")
        add(local, "b")
        change(local, "undo", "e1")
        for _ in range(2):  # the second time it holds everything already
            local.copy_to(tmp_path / "shared", url)
        add(local, "c")
        local.copy_to(tmp_path / "shared", url)
        with Sheet.create(tmp_path / "replica", BASE, url) as replica:
            assert replica.events() == local.events()
            replica.verify()
            replica.copy_to(tmp_path / "back")
    with Sheet.open(tmp_path / "back") as back, Sheet.open(tmp_path / "local") as local:
        assert back.events() == local.events()
        back.verify()

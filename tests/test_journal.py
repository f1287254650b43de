"""The journal on its own: nothing finished is lost, nothing is mixed, the final file appears whole."""

import errno
import json
import os
import threading

import pytest

import sampling.journal
from sampling.extension import clear_the_way
from sampling.journal import Journal, differences, merge, part_path, part_paths, read_part, run_hash, settings_path

SETTINGS = {
    "run": "r",
    "model": {"name": "tiny", "adapter": None},
    "sampling": {"temperature": 1.0, "seed": 1},
    "checkpoint": "a",
    "versions": {"torch": "1"},
}
IDS = [f"p{i}" for i in range(7)]


def line(problem_id: str, **more) -> bytes:
    return json.dumps({"problem_id": problem_id, "text": "line\nend ü"} | more, ensure_ascii=False).encode()


def write(output, ids, shard=(1, 1), settings=SETTINGS):
    journal = Journal(part_path(output, shard), settings)
    for problem_id in ids:
        journal.add(line(problem_id))
    journal.close()


def finished(folder, shards=1):
    output = folder / f"of_{shards}.json"
    for index in range(1, shards + 1):
        write(output, IDS[index - 1 :: shards], (index, shards))
    assert merge(output, SETTINGS, IDS) == []
    return output


def test_the_final_file_is_the_same_for_one_two_and_three_shards(tmp_path):
    files = [finished(tmp_path, shards) for shards in (1, 2, 3)]
    assert len({file.read_bytes() for file in files}) == 1
    assert [entry["problem_id"] for entry in json.loads(files[0].read_text())] == IDS
    assert json.loads(settings_path(files[0]).read_text()) == SETTINGS
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] * 6  # no journal and no partial file is left


def test_a_journal_cut_at_any_byte_keeps_every_whole_line_and_takes_up_from_there(tmp_path):
    path = tmp_path / "s.json.journal"
    write(tmp_path / "s.json", IDS[:3])
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        part = read_part(path)
        assert (part is None) == (cut < ends[0])
        kept = 0 if part is None else len(part.lines)
        assert kept == max(0, sum(end <= cut for end in ends) - 1)
        write(tmp_path / "s.json", IDS[kept:3])
        assert path.read_bytes() == whole


def test_damage_before_the_last_line_is_reported_not_repaired(tmp_path):
    output = tmp_path / "s.json"
    write(output, IDS)
    path = part_path(output, (1, 1))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:9] + b"\n", *lines[3:]]))
    with pytest.raises(ValueError, match="damaged in line 3"):
        read_part(path)


def test_a_part_with_other_settings_is_refused_with_the_difference(tmp_path):
    output = tmp_path / "s.json"
    write(output, IDS)
    other = SETTINGS | {"sampling": {"temperature": 0.7, "seed": 1}, "model": {"name": "tiny", "adapter": "abc"}}
    with pytest.raises(ValueError, match=r"model.adapter: None -> abc; sampling.temperature: 1.0 -> 0.7"):
        merge(output, other, IDS)


def test_a_moved_folder_or_a_new_package_version_is_the_same_run():
    moved = SETTINGS | {"checkpoint": "b", "versions": {"torch": "2"}, "run": "other"}
    moved["asked"] = {"dataset_name": "another/name/of/the/questions.jsonl"}
    assert differences(SETTINGS, moved) == []
    assert run_hash(SETTINGS) == run_hash(moved) != run_hash(SETTINGS | {"model": {"name": "tiny", "adapter": "x"}})


def test_a_model_is_told_by_its_weights_where_they_are_known_and_else_by_its_name():
    here, there, another = (
        SETTINGS | {"model": {"name": name, "fingerprint": weights}}
        for name, weights in (("/models/mine", "a"), ("mine", "a"), ("mine", "b"))
    )
    assert differences(here, there) == [] and run_hash(here) == run_hash(there) != run_hash(another)
    assert differences(here, another) == ["model.fingerprint: a -> b", "model.name: /models/mine -> mine"]
    unknown = [SETTINGS | {"model": {"name": name, "fingerprint": "unknown"}} for name in ("one", "other")]
    assert differences(*unknown) == ["model.name: one -> other"] and run_hash(unknown[0]) != run_hash(unknown[1])


def test_the_merge_names_what_is_missing_and_leaves_the_parts(tmp_path):
    output = tmp_path / "s.json"
    write(output, IDS[0::2], (1, 2))
    assert merge(output, SETTINGS, IDS) == IDS[1::2]
    assert not output.exists() and part_paths(output)


def test_the_merge_refuses_foreign_and_contradicting_problems(tmp_path):
    output = tmp_path / "s.json"
    write(output, [*IDS, "stranger"])
    with pytest.raises(ValueError, match="stranger"):
        merge(output, SETTINGS, IDS)
    output = tmp_path / "t.json"
    write(output, IDS)
    journal = Journal(part_path(output, (2, 2)), SETTINGS)
    journal.add(line("p3", text="another"))
    journal.close()
    with pytest.raises(ValueError, match="p3 differs"):
        merge(output, SETTINGS, IDS)


def test_another_number_of_shards_goes_on_with_what_is_there(tmp_path):
    output, expected = tmp_path / "s.json", finished(tmp_path).read_bytes()
    write(output, IDS[:4])
    write(output, IDS[5:], (1, 2))
    assert merge(output, SETTINGS, IDS) == ["p4"]
    write(output, ["p4"], (2, 2))
    assert merge(output, SETTINGS, IDS) == []
    assert output.read_bytes() == expected


def test_two_processes_cannot_write_one_part(tmp_path):
    path = part_path(tmp_path / "s.json", (1, 1))
    journal = Journal(path, SETTINGS)
    with pytest.raises(ValueError, match="another process"):
        Journal(path, SETTINGS)
    journal.close()
    Journal(path, SETTINGS).close()


def no_space(folder):
    raise OSError("disk full")


def test_a_journal_that_cannot_be_begun_is_let_go_at_once(tmp_path, monkeypatch):
    path = tmp_path / "s.json.journal"
    path.write_text("damaged\n")
    with pytest.raises(ValueError, match="damaged in line 1") as kept:  # its traceback holds what was open
        Journal(path, SETTINGS)
    path.write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(sampling.journal, "flush", no_space)
        with pytest.raises(OSError, match="disk full") as kept_too:
            Journal(path, SETTINGS)
    Journal(path, SETTINGS).close()
    assert kept and kept_too


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_lock_keeps_the_samples_all_the_same(number, tmp_path, monkeypatch):
    def refuses(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuses)
    assert json.loads(finished(tmp_path).read_bytes())


def test_a_shard_that_overwrites_does_not_delete_what_another_has_just_begun(tmp_path, monkeypatch):
    """The other one discards the old journal and begins its own between this one's look at it and its decision."""
    output, other = tmp_path / "s.json", SETTINGS | {"method": "psr"}
    write(output, IDS[:2], (1, 2), settings=other)
    begun = []

    def reads(path):
        part = read_part(path)
        if not begun:
            begun.append(threading.Thread(target=begins))
            begun[0].start()
            begun[0].join(0.2)  # it waits, where there is a lock
        return part

    def begins():
        clear_the_way(output, SETTINGS, [], overwrite=True)
        write(output, IDS[:1], (1, 2))

    monkeypatch.setattr("sampling.extension.read_part", reads)
    clear_the_way(output, SETTINGS, [], overwrite=True)
    begun[0].join()
    assert list(read_part(part_path(output, (1, 2))).lines) == IDS[:1]


def test_a_foreign_file_is_not_taken_for_a_journal(tmp_path):
    path = tmp_path / "s.json.journal"
    path.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(ValueError, match="not a journal"):
        read_part(path)


def test_jsonl_carries_its_settings_in_the_first_line_and_a_journal_reads_the_same_way(tmp_path):
    output = tmp_path / "s.jsonl"
    write(output, IDS)
    journal = part_path(output, (1, 1)).read_bytes()
    assert merge(output, SETTINGS, IDS) == []
    assert output.read_bytes() == journal
    assert json.loads(journal.splitlines()[0]) == {"settings": SETTINGS}

"""The tests that `make mutants` runs for a module."""

from benchmarks import mutants


def test_each_module_has_tests_that_are_there():
    modules = mutants.find_modules()
    assert len(modules) == sum(
        path.stem != "__init__" for path in (mutants.ROOT / "videosummarizer").rglob("*.py")
    ) + len(list(mutants.ROOT.glob("*.py")))
    assert {"training.arguments", "extraction.arguments"} < modules.keys()
    assert set(mutants.FURTHER_TEST_FILES) <= modules.keys()
    for module in modules:
        paths = mutants.find_test_files(module)
        assert [path for path in paths if not (mutants.ROOT / path).is_file()] == []

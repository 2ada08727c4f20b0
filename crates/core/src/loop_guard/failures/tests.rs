use super::{Kind, is_empty};

#[test]
fn a_report_of_failures_is_told_from_one_of_success() {
    for failed in [
        "FAILED tests/a.py::test_x - assert 1 == 2",
        "test result: FAILED. 3 passed; 2 failed; 0 ignored",
        "running 3 tests\n1 failed, 3 passed in 0.2s",
        "Tests:       1 failed, 8 passed, 9 total",
        "2 tests failed",
        "AssertionError: 1 != 2",
        "src/a.rs\nerror[E0308]: mismatched types",
        "error TS2322: Type 'a' is not assignable",
        "FAIL\tpkg/a\t0.3s",
        "Found 3 errors in 2 files",
        "Build failed: 1 error",
        "3 failing",
    ] {
        assert_eq!(Kind::of(Ok(failed)), Kind::Failure, "{failed}");
    }
    for fine in [
        "Finished in 2.1s",
        "test result: ok. 5 passed; 0 failed; 0 ignored",
        "0 errors, 3 warnings",
        "Errors: 0",
        r#"{"error":null,"warnings":[]}"#,
        "no errors",
        "No failures",
        "1. parser\n2. fix the error handling of the printer",
        "The file has been updated.",
        "fn fail() {}",
        "",
    ] {
        assert_eq!(Kind::of(Ok(fine)), Kind::Success, "{fine}");
    }
    assert_eq!(Kind::of(Ok("Error: no such file")), Kind::Error);
    assert_eq!([Kind::of(Err("Exit code 1")), Kind::of(Err("no such file"))], [Kind::Failure, Kind::Error]);
}

#[test]
fn a_result_without_contents_is_empty() {
    for empty in ["", " \n", "[]", "{}", "null", r#"{"results": [], "total": 0, "next": null}"#] {
        assert!(is_empty(empty), "{empty}");
    }
    for full in ["0", "x", "[1]", r#"["a"]"#, r#"{"a": "b"}"#, r#"{"total": 10}"#, "[0, \"", "{\"ä"] {
        assert!(!is_empty(full), "{full}");
    }
}

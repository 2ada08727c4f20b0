use super::{Mask, Print, Text};

const MASK: Mask<'_> = Mask { on: true, ignored: [&[], &[]], places: false };

fn masked(kind: Text, text: &str) -> u64 {
    MASK.prints(text, kind, |_| None).masked
}

#[track_caller]
fn same(kind: Text, one: &str, other: &str) {
    assert_eq!(masked(kind, one), masked(kind, other), "{one:?} {other:?}");
}

#[track_caller]
fn differ(kind: Text, one: &str, other: &str) {
    assert_ne!(masked(kind, one), masked(kind, other), "{one:?} {other:?}");
}

#[test]
fn ids_and_times_that_differ_are_the_same() {
    let pairs = [
        ("get 550e8400-e29b-41d4-a716-446655440000 now", "get 7d444840-9dc0-11d1-b245-5ffdce74fad2 now"),
        ("id=01ARZ3NDEKTSV4RRFFQ69G5FAV", "id=01BX5ZZKBKACTAV9WEVGEMMVRZ"),
        ("call_01h455vb4pex5vsknk084sn02q", "call_01h455vb4pex5vsknk084sn02r"),
        ("commit 3f786850e387550fdab836ed7e6dc881de23001b", "commit 89e6c98d92887913cadf06b2adb97f26cde4849b"),
        ("at 2026-01-02T03:04:05.123Z", "at 2026-02-03T04:05:06+01:00"),
        ("[12:00:01] x", "[12:00:02,5] x"),
        ("t=1718000000", "t=1718000001"),
        ("t=1718000000123", "t=1718000000456"),
        ("t=1718000000.25", "t=1718000001.75"),
        ("object at 0x7fff5fbff8c0", "object at 0x7fff5fbff9d8"),
        (r#"{"request_id":"a","q":1}"#, r#"{"request_id":"b","q":1}"#),
        (r#"{"requestId": 12, "q":1}"#, r#"{"requestId": 13, "q":1}"#),
        ("nonce=abc&q=1", "nonce=def&q=1"),
        ("cd /tmp/tmpk3_x9a2c/src", "cd /tmp/tmpq8w7e_rt/src"),
        ("cd /tmp/tmp.Xk3jd9aB2Z", "cd /tmp/tmp.0k3jd9aB2q"),
    ];
    for (one, other) in pairs {
        same(Text::Arguments, one, other);
        same(Text::Output, one, other);
    }
}

#[test]
fn what_names_different_things_differs() {
    let pairs = [
        ("src/file_001.rs", "src/file_002.rs"),
        ("page=1", "page=2"),
        ("offset 100000", "offset 200000"),
        ("user 48213", "user 48214"),
        ("v1.2.3", "v1.2.4"),
        ("main.rs:10:20", "main.rs:10:21"),
        ("deadbeef", "cafebabe"),
        ("sleep 5 s", "sleep 10 s"),
        (r#"{"query":"a"}"#, r#"{"query":"b"}"#),
        ("day 2026-01-02", "day 2026-01-03"),
        ("from 2026-01-02T03:00:00Z", "from 2026-01-02T04:00:00Z"),
        ("from 2026-01-02 03:15", "from 2026-01-02 03:30"),
        ("from 1718000040", "from 1718000100"),
        ("from 1718000040000", "from 1718000100000"),
        ("tmpfilename", "tmpfilefoos"),
        ("internationalizationists", "internationalizationistas"),
    ];
    for (one, other) in pairs {
        differ(Text::Arguments, one, other);
    }
}

#[test]
fn in_results_lengths_of_time_and_counts_of_tries_say_nothing() {
    let pairs = [
        ("Finished in 2.31s", "Finished in 14.02s"),
        ("timeout after 30012 ms", "timeout after 29999 ms"),
        ("attempt 5 failed", "attempt 6 failed"),
        ("retry #5", "retry #6"),
        (r#"{"elapsed_ms":12,"ok":true}"#, r#"{"elapsed_ms":13,"ok":true}"#),
    ];
    for (one, other) in pairs {
        same(Text::Output, one, other);
        differ(Text::Arguments, one, other);
    }
    for (one, other) in [("12 tests", "13 tests"), ("12%", "13%"), ("HTTP 500", "HTTP 503"), ("line 12", "line 13")] {
        differ(Text::Output, one, other);
    }
}

#[test]
fn of_json_neither_blanks_nor_the_order_of_fields_count() {
    let same_as = |text| same(Text::Arguments, r#"{"a":[1,{"b":"x","c":null}],"d":"2 3"}"#, text);
    same_as(r#"{"d":"2 3","a":[1,{"c":null,"b":"x"}]}"#);
    same_as(" {\n\t\"a\" : [ 1 , { \"b\":\"x\", \"c\":null } ] , \"d\":\"2 3\" } ");
    let pairs = [
        (r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#),
        (r#"{"a":"b","c":"d"}"#, r#"{"a":"d","c":"b"}"#),
        (r#"{"a":{"x":1},"b":{"y":2}}"#, r#"{"a":{"y":2},"b":{"x":1}}"#),
        ("[1,2]", "[2,1]"),
        ("[[1],2]", "[1,[2]]"),
        ("{}", "[]"),
        (r#"{"a":"x y"}"#, r#"{"a":"xy"}"#),
        (r#"{"a":1}"#, r#"{"a":1"#),
        (r#"{"a":1}"#, r#"{"a":1}}"#),
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
    ];
    for (one, other) in pairs {
        differ(Text::Arguments, one, other);
    }
    let deep = "[".repeat(100_000);
    same(Text::Output, &deep, &deep);
    same(Text::Arguments, r#"{"request_id":{"a":1},"q":1}"#, r#"{"q":1,"request_id":{"a":[2]}}"#);
    for broken in [
        "{",
        "{\"",
        "{\"\\",
        "{\"a",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":}",
        "{,}",
        "[,]",
        "[1,]",
        "{\"ä\\é\":\"",
        "[\u{a0}]",
        "{a:1}",
    ] {
        same(Text::Arguments, broken, broken);
    }
}

#[test]
fn digits_after_the_sixth_are_noise() {
    same(Text::Arguments, "0.30000000000000004", "0.3");
    same(Text::Arguments, "at [-0.29999999999999999]", "at [-0.3]");
    same(Text::Output, r#"{"score":0.8234123}"#, r#"{"score":0.82341229}"#);
    for (one, other) in [("0.3", "0.4"), ("0.300001", "0.3"), ("1.2.3", "1.2.4"), ("-0.3", "0.3"), ("1.50", "1.5")] {
        differ(Text::Arguments, one, other);
    }
}

#[test]
fn an_id_with_a_meaning_is_told_apart() {
    let known = |id: &str| Print::new().bytes(id.as_bytes()).done();
    let (one, other) = ("550e8400-e29b-41d4-a716-446655440000", "7d444840-9dc0-11d1-b245-5ffdce74fad2");
    let meaning = |hash| [known(one), known(other)].iter().position(|id| *id == hash).map(|at| at as u64);
    let print = |text| MASK.prints(text, Text::Arguments, meaning).masked;
    assert_ne!(print(one), print(other));
    assert_eq!(print(one), print(one));
}

#[test]
fn fields_the_caller_ignores_and_a_mask_that_is_off() {
    let ignored = ["screenshot".to_owned()];
    let mask = Mask { on: true, ignored: [&ignored, &[]], places: false };
    let print = |text| mask.prints(text, Text::Output, |_| None);
    assert_eq!(print(r#"{"screenshot":"a\"b","x":1}"#), print(r#"{"screenshot":"c","x":1}"#));
    let off = Mask { on: false, ignored: [&[], &[]], places: false };
    let day = |text| off.prints(text, Text::Output, |_| None).masked;
    assert_ne!(day("2026-01-01"), day("2026-01-02"));
}

#[test]
fn a_value_without_its_end_and_texts_that_are_no_ascii() {
    for text in ["\"nonce\":\"", "nonce=", "nonce:\"\\", "nonce", "ü12:30:0é", "2026-01-0", "0x", "1.", "12:3", "é"]
    {
        for kind in [Text::Arguments, Text::Output] {
            assert_eq!(masked(kind, text), masked(kind, text));
        }
    }
}

/// What would take hours if any part of it was read again for each other.
#[test]
fn a_megabyte_of_anything_is_read_a_fixed_number_of_times() {
    for part in [
        "a",
        "a1-",
        "tmp_",
        "1.1",
        "12:30:",
        "0x1",
        "{\"a\":[",
        "[1,",
        "nonce=\"",
        "nonce   ",
        "\"",
        "1234567890",
        "\\",
    ] {
        let text = part.repeat(1_000_000 / part.len());
        same(Text::Output, &text, &text);
    }
}

//! Ids, names, amounts, times: what is read, what is printed, what is refused and with which words.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use protocol::{
    BootStage, ByteCount, Code, Digest, Name, NewVm, NodeId, Page, Problem, Selector, StopRequest,
    Timestamp, VmId, nearest, problem::exit,
};
use std::collections::BTreeSet;

#[test]
#[rustfmt::skip] // keeps the columns
fn an_amount_prints_in_the_largest_unit_that_divides_it() {
    //    read                     printed             in tables
    check("128MiB",                "128MiB",           "128 MiB");
    check("131072KiB",             "128MiB",           "128 MiB");
    check("134217728",             "128MiB",           "128 MiB");
    check("1025B",                 "1025B",            "1.0 KiB");
    check("1 GiB",                 "1GiB",             "1 GiB");
    check("1536MB",                "1500000KiB",       "1.4 GiB");
    check("0",                     "0B",               "0 B");
    check("1023B",                 "1023B",            "1023 B");
    check("18446744073709551615B", "18446744073709551615B", "16777215 TiB");

    fn check(read: &str, printed: &str, shown: &str) {
        let count: ByteCount = read.parse().unwrap();
        assert_eq!(count.to_string(), printed, "{read}");
        assert_eq!(count.human(), shown, "{read}");
    }
}

#[test]
fn a_wrong_amount_is_refused_with_what_would_be_right() {
    for (text, told) in [
        ("", "has no number"),
        ("MiB", "has no number"),
        ("-1MiB", "has no number"),
        ("128M", "write MiB (of 1024) or MB (of 1000)"),
        ("1g", "write GiB (of 1024) or GB (of 1000)"),
        ("128mib", "is no unit"),
        ("1.5GiB", "is no unit"),
        ("18446744073709551616", "more than 16 EiB"),
        ("16777216TiB", "more than 16 EiB"),
    ] {
        let error = text.parse::<ByteCount>().unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn json_amounts_are_text_and_plain_numbers_are_understood() {
    assert_eq!(
        serde_json::to_string(&ByteCount::mib(128)).unwrap(),
        "\"128MiB\""
    );
    assert_eq!(
        serde_json::from_str::<ByteCount>("134217728").unwrap(),
        ByteCount::mib(128)
    );
    assert_eq!(
        serde_json::from_str::<ByteCount>("\"128MiB\"").unwrap(),
        ByteCount::mib(128)
    );
    assert!(serde_json::from_str::<ByteCount>("1.5").is_err());
    assert!(serde_json::from_str::<ByteCount>("-1").is_err());
}

#[test]
fn everything_survives_postcard() {
    let new = NewVm::new("a".parse().unwrap(), "b".parse().unwrap());
    let bytes = postcard::to_allocvec(&new).unwrap();
    assert_eq!(postcard::from_bytes::<NewVm>(&bytes).unwrap(), new);
    let stage = BootStage {
        stage: "init".to_owned(),
        at_ms: 7,
    };
    let bytes = postcard::to_allocvec(&stage).unwrap();
    assert_eq!(postcard::from_bytes::<BootStage>(&bytes).unwrap(), stage);
}

#[test]
fn names_are_dns_labels() {
    let longest = "a".repeat(63);
    for right in ["a", "web-1", "0", "a--b", longest.as_str()] {
        assert_eq!(right.parse::<Name>().unwrap().as_str(), right);
    }
    let longer = "a".repeat(64);
    for (wrong, told) in [
        ("", "empty"),
        ("Web", "`W` can't stand in a name"),
        ("web_1", "`_` can't stand"),
        ("web.1", "`.` can't stand"),
        ("wéb", "`é` can't stand"),
        ("-web", "start or end"),
        ("web-", "start or end"),
        (longer.as_str(), "at most 63"),
    ] {
        let error = wrong.parse::<Name>().unwrap_err().to_string();
        assert!(error.contains(told), "{wrong}: {error}");
    }
}

#[test]
fn ids_say_what_they_name_and_never_mix() {
    let vm = VmId::from_bytes([0xab; 16]);
    assert_eq!(vm.to_string(), "vm-abababababababababababababababab");
    assert_eq!(vm.short(), "vm-abababab");
    assert_eq!(vm.to_string().parse::<VmId>().unwrap(), vm);
    assert!(vm.to_string().parse::<NodeId>().is_err());
    for wrong in [
        "",
        "vm-",
        "vm-AB",
        "vm-abab",
        "abababababababababababababababab",
    ] {
        assert!(wrong.parse::<VmId>().is_err(), "{wrong}");
    }
    assert_eq!(
        Selector::from(vm).id_start(VmId::PREFIX),
        Some(vm.to_string().as_str())
    );
    let start: Selector = "vm-ab".parse().unwrap();
    assert_eq!(start.id_start("vm-"), Some("vm-ab"));
    assert_eq!("vm-xyz".parse::<Selector>().unwrap().id_start("vm-"), None);
    assert_eq!("web".parse::<Selector>().unwrap().id_start("vm-"), None);
}

#[test]
fn times_are_rfc_3339_in_utc() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_795_573_293_123, "2026-11-25T02:21:33.123Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(Timestamp::from_unix_ms(ms).to_string(), text);
        assert_eq!(text.parse::<Timestamp>().unwrap().unix_ms(), ms, "{text}");
    }
    assert_eq!(
        "1970-01-01T00:00:01Z"
            .parse::<Timestamp>()
            .unwrap()
            .unix_ms(),
        1000
    );
    assert_eq!(
        "1970-01-01T00:00:00.5Z"
            .parse::<Timestamp>()
            .unwrap()
            .unix_ms(),
        500
    );
    for wrong in [
        "",
        "2026-11-25",
        "2023-02-29T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00.Z",
    ] {
        assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
    }
}

#[test]
fn digests_are_those_of_the_standard() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").to_string(), empty);
    assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
    assert!(empty.to_uppercase().parse::<Digest>().is_err());
}

#[test]
fn a_typing_mistake_finds_its_word() {
    let words = ["create", "list", "show", "console", "delete"];
    for (typed, meant) in [
        ("craete", Some("create")),
        ("lst", Some("list")),
        ("shwo", Some("show")),
        ("konsole", Some("console")),
        ("list", None),
        ("frobnicate", None),
        ("", None),
    ] {
        assert_eq!(nearest(typed, words), meant, "{typed}");
    }
    assert_eq!(nearest(&"x".repeat(100_000), words), None);
}

#[test]
fn every_code_has_its_own_text_and_a_fitting_status_and_exit() {
    let mut seen = BTreeSet::new();
    for code in Code::ALL {
        assert!(seen.insert(code.as_str()), "{code} twice");
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        assert!((400..600).contains(&code.status()), "{code}");
        assert!(
            (exit::FAILED..=exit::UNREACHABLE).contains(&code.exit()),
            "{code}"
        );
        assert!(!code.title().ends_with('.'));
    }
}

#[test]
fn a_problem_is_an_rfc_9457_document_with_advice() {
    let problem = Problem::new(Code::NotFound, "There is no VM `a`", "See: luc vm list");
    let value = serde_json::to_value(&problem).unwrap();
    assert_eq!(value["type"], "urn:luc:problem:not_found");
    assert_eq!(value["status"], 404);
    assert_eq!(value["lost"], "Nothing was changed.");
    assert_eq!(serde_json::from_value::<Problem>(value).unwrap(), problem);
}

#[test]
fn a_typo_in_a_request_is_not_ignored() {
    assert!(
        serde_json::from_str::<StopRequest>(r#"{"force":true}"#)
            .unwrap()
            .force
    );
    assert!(serde_json::from_str::<StopRequest>(r#"{"forec":true}"#).is_err());
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_page_knows_whether_more_follows() {
    //    items limit  given next
    check(0,     3,    0,    None);
    check(3,     3,    3,    None);
    check(4,     3,    3,    Some("2"));
    check(500,   1000, 100,  Some("99")); // the limit has a limit

    fn check(items: usize, limit: u32, given: usize, next: Option<&str>) {
        let page = Page::cut(0..items, limit, usize::to_string);
        assert_eq!(page.items.len(), given);
        assert_eq!(page.next.as_deref(), next);
    }
}

proptest! {
    #[test]
    fn amounts_read_back(count: u64) {
        let count = ByteCount::bytes(count);
        prop_assert_eq!(count.to_string().parse::<ByteCount>().unwrap(), count);
        prop_assert!(count.human().len() < 24);
    }

    #[test]
    fn times_read_back(ms in 0..=253_402_300_799_999u64) {
        let time = Timestamp::from_unix_ms(ms);
        prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }

    #[test]
    fn ids_read_back(bytes: [u8; 16]) {
        let id = VmId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse::<VmId>().unwrap(), id);
    }

    #[test]
    fn no_text_breaks_a_parser(text: String) {
        protocol::fuzz::fuzz_words(text.as_bytes());
    }
}

//! Requests: what each asks, and what each malformed one is told.
#![allow(clippy::unwrap_used, clippy::result_large_err)]

use api::{Call, Reply, RequestHead, body_max, parse};
use protocol::{
    Answer, Blob, ByteCount, Code, Command, Digest, DiskUse, Problem, StopRequest, limits,
};

const JSON: Option<&str> = Some("application/json");

fn head<'a>(method: &'a str, target: &'a str) -> RequestHead<'a> {
    RequestHead {
        method,
        target,
        ..RequestHead::default()
    }
}

fn ask(method: &str, target: &str, body: &str) -> Result<Call, Problem> {
    let content_type = (!body.is_empty()).then_some("application/json");
    parse(
        &RequestHead {
            content_type,
            ..head(method, target)
        },
        body.as_bytes().to_vec(),
    )
}

fn command(method: &str, target: &str, body: &str) -> Command {
    match ask(method, target, body).unwrap() {
        Call::Cloud(request) => request.command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_well_formed_request_is_its_call() {
    assert_eq!(ask("GET", "/", "").unwrap(), Call::Home);
    assert_eq!(ask("GET", "/v1/openapi.json", "").unwrap(), Call::OpenApi);
    assert_eq!(ask("GET", "/v1/node", "").unwrap(), Call::ShowNode);
    assert_eq!(ask("HEAD", "/v1/node", "").unwrap(), Call::ShowNode);
    assert_eq!(
        ask("POST", "/v1/node/poweroff", "").unwrap(),
        Call::PowerOff
    );
    assert_eq!(ask("POST", "/v1/node/reboot", "").unwrap(), Call::Reboot);
    let vm: protocol::Selector = "web-1".parse().unwrap();
    assert_eq!(
        command("GET", "/v1/vms/web-1", ""),
        Command::ShowVm(vm.clone())
    );
    assert_eq!(
        command("GET", "/v1/vms/%77eb-1", ""),
        Command::ShowVm(vm.clone())
    );
    assert_eq!(
        command("DELETE", "/v1/vms/web-1", ""),
        Command::DeleteVm(vm.clone())
    );
    assert_eq!(
        command("POST", "/v1/vms/web-1/start", ""),
        Command::StartVm(vm.clone())
    );
    assert_eq!(
        command("POST", "/v1/vms/web-1/reset", ""),
        Command::ResetVm(vm.clone())
    );
    let gently = StopRequest::default();
    assert_eq!(
        command("POST", "/v1/vms/web-1/stop", ""),
        Command::StopVm(vm.clone(), gently)
    );
    let force = StopRequest {
        force: true,
        force_after_ms: None,
    };
    let body = r#"{"force": true}"#;
    assert_eq!(
        command("POST", "/v1/vms/web-1/stop", body),
        Command::StopVm(vm.clone(), force)
    );
    let log = ask("GET", "/v1/vms/web-1/console/log", "").unwrap();
    assert_eq!(log, Call::ConsoleLog { vm });
}

#[test]
fn a_new_vm_may_leave_out_what_has_a_default() {
    let Command::CreateVm(new) = command("POST", "/v1/vms", r#"{"name":"a","image":"i"}"#) else {
        panic!()
    };
    assert_eq!(
        (new.vcpus, new.memory, new.disk),
        (1, ByteCount::mib(128), DiskUse::ReadOnly)
    );
    let body = r#"{"name":"a","image":"i","vcpus":2,"memory":268435456,"disk":"private"}"#;
    let Command::CreateVm(new) = command("POST", "/v1/vms", body) else {
        panic!()
    };
    assert_eq!(
        (new.vcpus, new.memory, new.disk),
        (2, ByteCount::mib(256), DiskUse::Private)
    );
}

#[test]
fn lists_take_a_limit_and_a_start() {
    let Command::ListVms(page) = command("GET", "/v1/vms", "") else {
        panic!()
    };
    assert_eq!((page.limit, page.after), (limits::PAGE_ITEMS_DEFAULT, None));
    let Command::ListImages(page) = command("GET", "/v1/images?limit=7&after=a", "") else {
        panic!()
    };
    assert_eq!((page.limit, page.after), (7, Some("a".parse().unwrap())));
}

#[test]
fn a_piece_of_a_blob_keeps_its_bytes() {
    let target = format!("/v1/blobs/{}?offset=4&size=8", Digest::of(b"12345678"));
    let content_type = Some("application/octet-stream");
    let head = RequestHead {
        content_type,
        ..head("PUT", &target)
    };
    let Call::Cloud(request) = parse(&head, b"5678".to_vec()).unwrap() else {
        panic!()
    };
    let (digest, bytes) = (Digest::of(b"12345678"), b"5678".to_vec());
    assert_eq!(
        request.command,
        Command::PutBlob {
            digest,
            size: 8,
            offset: 4,
            bytes
        }
    );
    assert_eq!(body_max(&head).unwrap(), limits::CHUNK_BYTES_MAX);
}

#[test]
fn a_console_is_a_websocket() {
    let websocket = RequestHead {
        websocket: true,
        ..head("GET", "/v1/vms/a/console?since=5&take=true")
    };
    let vm = "a".parse().unwrap();
    let wanted = Call::Console {
        vm,
        since: Some(5),
        take: true,
    };
    assert_eq!(parse(&websocket, Vec::new()).unwrap(), wanted);
    let refused = ask("GET", "/v1/vms/a/console", "").unwrap_err();
    assert_eq!(refused.code, Code::UpgradeNeeded);
    assert!(refused.advice.contains("luc vm console a"));
}

#[test]
#[rustfmt::skip] // keeps the columns
fn each_malformed_request_is_told_what_would_be_right() {
    //    method    target                     body                       code                what the problem says
    check("GET",    "/v1/vsm",                 "",                        Code::UnknownPath,  "Did you mean /v1/vms?");
    check("GET",    "/v1/vms/",                "",                        Code::UnknownPath,  "Did you mean /v1/vms?");
    check("GET",    "/v1/vms/a/consol",        "",                        Code::UnknownPath,  "Did you mean /v1/vms/a/console?");
    check("GET",    "/v2/something/else",      "",                        Code::UnknownPath,  "openapi.json lists all paths");
    check("GET",    "nowhere",                 "",                        Code::BadRequest,   "absolute path");
    check("GET",    "*",                       "",                        Code::BadRequest,   "absolute path");
    check("PUT",    "/v1/vms",                 "",                        Code::WrongMethod,  "Use GET, POST");
    check("BREW",   "/v1/node",                "",                        Code::WrongMethod,  "does not know BREW");
    check("GET",    "/v1/vms/%zz",             "",                        Code::BadRequest,   "percent sign that encodes nothing");
    check("GET",    "/v1/vms/a%2",             "",                        Code::BadRequest,   "percent sign that encodes nothing");
    check("GET",    "/v1/vms/a%2fb",           "",                        Code::BadRequest,   "can't stand in a name");
    check("GET",    "/v1/vms/%ff",             "",                        Code::BadRequest,   "not UTF-8");
    check("GET",    "/v1/vms/Web",             "",                        Code::BadValue,     "`W` can't stand in a name");
    check("GET",    "/v1/vms?limt=3",          "",                        Code::BadRequest,   "Did you mean `limit`?");
    check("GET",    "/v1/vms?limit=0",         "",                        Code::BadValue,     "a number from 1 to 100");
    check("GET",    "/v1/vms?limit=101",       "",                        Code::BadValue,     "a number from 1 to 100");
    check("GET",    "/v1/vms?limit=+1",        "",                        Code::BadValue,     "a number from 1 to 100");
    check("GET",    "/v1/vms?limit=ten",       "",                        Code::BadValue,     "a number from 1 to 100");
    check("GET",    "/v1/vms?limit=1&limit=2", "",                        Code::BadRequest,   "there twice");
    check("GET",    "/v1/vms?after=_",         "",                        Code::BadValue,     "wanted a name");
    check("GET",    "/v1/openapi.json?verbose=1",      "",                        Code::BadRequest,   "takes no parameters");
    check("GET",    "/v1/blobs/abc",           "",                        Code::BadValue,     "64 lower-case");
    check("POST",   "/v1/vms",                 "{",                       Code::BadJson,      "line 1, column 1");
    check("POST",   "/v1/vms",                 "{\"name\":\"a\",\n x}",   Code::BadJson,      "line 2, column 2");
    check("POST",   "/v1/vms",                 "[]",                      Code::BadJson,      "not a JSON object");
    check("POST",   "/v1/vms",                 r#"{"name":"a"}"#,         Code::BadJson,      "field `image` is missing");
    check("POST",   "/v1/vms",                 r#"{"nam":"a"}"#,          Code::BadJson,      "Did you mean `name`?");
    check("POST",   "/v1/vms",                 r#"{"name":"A"}"#,         Code::BadValue,     "`A` can't stand in a name");
    check("POST",   "/v1/vms",                 r#"{"memory":"1M"}"#,      Code::BadValue,     "MiB (of 1024) or MB (of 1000)");
    check("POST",   "/v1/vms",                 r#"{"vcpus":-1}"#,         Code::BadValue,     "line 1, column 11");
    check("POST",   "/v1/vms",                 r#"{"vcpus":1e3}"#,        Code::BadValue,     "Change this value");
    check("POST",   "/v1/vms",                 r#"{"disk":"maybe"}"#,     Code::BadValue,     "`read_only`, `private`, `none`");
    check("POST",   "/v1/vms/a/stop",          r#"{"forec":true}"#,       Code::BadJson,      "Did you mean `force`?");
    check("POST",   "/v1/vms/a/start",         "{}",                      Code::TooLarge,     "takes no body");
    check("POST",   "/v1/images",              r#"{"kernel":"abc"}"#,     Code::BadValue,     "64 lower-case");

    fn check(method: &str, target: &str, body: &str, code: Code, told: &str) {
        let problem = ask(method, target, body).unwrap_err();
        let said = format!("{} {}", problem.detail, problem.advice);
        assert_eq!(problem.code, code, "{method} {target} {body}: {said}");
        assert!(said.contains(told), "{method} {target} {body}: {said}");
    }
}

#[test]
fn what_is_missing_or_too_large_is_told_before_the_body_is_read() {
    let target = format!("/v1/blobs/{}", Digest::of(b""));
    let bytes = RequestHead {
        content_type: Some("application/octet-stream"),
        ..head("PUT", &target)
    };
    let refused = parse(&bytes, Vec::new()).unwrap_err();
    assert!(
        refused.detail.contains("`offset` is missing"),
        "{}",
        refused.detail
    );
    let length = |bytes| RequestHead {
        content_length: Some(bytes),
        ..head("POST", "/v1/vms")
    };
    let most = limits::BODY_BYTES_MAX as u64;
    assert_eq!(body_max(&length(most)).unwrap() as u64, most);
    let refused = body_max(&length(most + 1)).unwrap_err();
    assert_eq!(refused.code, Code::TooLarge);
    assert!(refused.detail.contains("65536"));
    assert_eq!(
        body_max(&head("GET", "/v1/nope")).unwrap_err().code,
        Code::UnknownPath
    );
    let long = format!("/v1/vms/{}", "a".repeat(limits::TARGET_BYTES_MAX));
    assert_eq!(
        body_max(&head("GET", &long)).unwrap_err().code,
        Code::BadRequest
    );
    let body = vec![b' '; limits::BODY_BYTES_MAX + 1];
    let json = RequestHead {
        content_type: JSON,
        ..head("POST", "/v1/vms")
    };
    assert_eq!(parse(&json, body).unwrap_err().code, Code::TooLarge);
}

#[test]
fn the_media_type_is_checked() {
    let body = || br#"{"name":"a","image":"i"}"#.to_vec();
    for (said, right) in [
        (None, false),
        (Some("text/plain"), false),
        (Some("application/jsonx"), false),
        (Some("application/json"), true),
        (Some("Application/JSON; charset=utf-8"), true),
    ] {
        let head = RequestHead {
            content_type: said,
            ..head("POST", "/v1/vms")
        };
        let result = parse(&head, body());
        assert_eq!(result.is_ok(), right, "{said:?}");
        if let Err(problem) = result {
            assert_eq!(problem.code, Code::MediaType);
            assert!(problem.advice.contains("application/json"));
        }
    }
}

#[test]
fn a_key_stands_for_everything_the_request_says() {
    let retry = |key, method, target: &str, body: &str| {
        let content_type = JSON.filter(|_| !body.is_empty());
        let head = RequestHead {
            idempotency_key: Some(key),
            content_type,
            ..head(method, target)
        };
        match parse(&head, body.as_bytes().to_vec()) {
            Ok(Call::Cloud(request)) => Ok(request.retry),
            Ok(other) => panic!("{other:?}"),
            Err(problem) => Err(problem),
        }
    };
    let one = retry("k", "POST", "/v1/vms/a/start", "").unwrap().unwrap();
    assert_eq!(one.0.as_str(), "k");
    assert_eq!(
        one,
        retry("k", "POST", "/v1/vms/a/start", "").unwrap().unwrap()
    );
    assert_ne!(
        one,
        retry("k", "POST", "/v1/vms/b/start", "").unwrap().unwrap()
    );
    assert_ne!(
        one,
        retry("k", "POST", "/v1/vms/a/reset", "").unwrap().unwrap()
    );
    let stop = retry("k", "POST", "/v1/vms/a/stop", r#"{"force":true}"#)
        .unwrap()
        .unwrap();
    assert_ne!(
        stop,
        retry("k", "POST", "/v1/vms/a/stop", r#"{"force":false}"#)
            .unwrap()
            .unwrap()
    );
    assert_eq!(
        retry("k", "GET", "/v1/vms/a", "").unwrap(),
        None,
        "reading needs no key"
    );
    for wrong in ["", "a b", "é", &"x".repeat(65)] {
        let refused = retry(wrong, "POST", "/v1/vms/a/start", "").unwrap_err();
        assert!(
            refused.detail.contains("1 to 64 visible ASCII"),
            "{}",
            refused.detail
        );
    }
}

#[test]
fn heads_come_out_of_http() {
    let request = http::Request::builder()
        .method("GET")
        .uri("http://node/v1/vms/a/console?take=true")
        .header("Upgrade", "WebSocket")
        .header("Idempotency-Key", &b"\xff"[..])
        .header("Content-Length", "12")
        .body(())
        .unwrap();
    let (parts, ()) = request.into_parts();
    let head = RequestHead::from(&parts);
    assert_eq!(
        (head.method, head.target),
        ("GET", "/v1/vms/a/console?take=true")
    );
    assert!(head.websocket);
    assert_eq!(
        (head.content_length, head.idempotency_key),
        (Some(12), Some(""))
    );
}

#[test]
fn replies_carry_status_type_and_headers() {
    let digest = Digest::of(b"x");
    let blob = Blob {
        digest,
        size: ByteCount::bytes(1),
        received: 1,
        complete: true,
    };
    let reply = Reply::answer(&Answer::Blob(blob)).into_http();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "application/json");
    assert_eq!(reply.headers()["cache-control"], "no-store");

    let problem = ask("PUT", "/v1/vms", "").unwrap_err();
    let reply = Reply::problem(problem, "req-1").into_http();
    assert_eq!(reply.status(), 405);
    assert_eq!(reply.headers()["allow"], "GET, POST");
    assert_eq!(reply.headers()["content-type"], "application/problem+json");
    let problem: Problem = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(problem.request_id.as_deref(), Some("req-1"));

    let busy = Problem::new(Code::Busy, "full", "Try again");
    assert_eq!(
        Reply::problem(busy, "r").into_http().headers()["retry-after"],
        "1"
    );
}

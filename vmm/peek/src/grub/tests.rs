//! Scripts, and what they would boot.
#![allow(clippy::unwrap_used)]

use super::choices;
use super::test::{Ask, judge};
use crate::disk::{Bytes, Disk, Limits};
use crate::search::Volumes;

const DISK: &[u8] = include_bytes!("../../corpus/disk/fat-unified");

/// What the script boots first: `kernel initrd...: command line`.
fn boots(script: &str) -> String {
    let mut volumes = Volumes::default();
    let disk = Disk::new(Box::new(Bytes(DISK.into())), Limits::default());
    volumes.read(&disk).unwrap();
    let found = choices(&volumes, 0, "/grub/grub.cfg", script).unwrap();
    let Some(choice) = found.into_iter().next() else {
        return "nothing".to_owned();
    };
    let initrds = choice.initrds.iter().map(|file| format!(" {}", file.path));
    let initrds: String = initrds.collect();
    format!("{}{initrds}: {}", choice.kernel.path, choice.cmdline)
}

#[test]
#[rustfmt::skip] // keeps the columns
fn words_are_quoted_and_replaced_as_grub_does() {
    for (script, boot) in [
        ("linux /k a b",                              "/k: a b"),
        ("linux /k 'a b' \"c d\" e\\ f g",            "/k: \"a b\" \"c d\" \"e f\" g"),
        ("linux /k a \\\n b # comment",               "/k: a b"),
        ("set x='1 2'; linux /k $x \"$x\" a${x}b",    "/k: 1 2 \"1 2\" a1 2b"),
        ("linux /k $none a\"$none\"b \"\"",           "/k: ab "),
        ("x=1; unset x; linux /k '$x' \"\\$x\" $x-",  "/k: $x $x -"),
        ("linux (hd0)/k a",                           "/k: a"),
        ("linux ($root)/k a",                         "/k: a"),
        ("linux (hd1,gpt1)/k a",                      "nothing"),
        ("linuxefi /k ; initrdefi /i /j",             "/k /i /j: "),
    ] {
        assert_eq!(boots(script), boot, "{script}");
    }
}

#[test]
#[rustfmt::skip] // keeps the columns
fn conditions_loops_and_functions_run() {
    for (script, boot) in [
        ("if false; then linux /a; elif true; then linux /b; else linux /c; fi",   "/b: "),
        ("if [ x$grub_platform = xpc ]; then linux /a\nfi",                        "/a: "),
        ("if [ -s $prefix/grubenv ]; then load_env; fi; linux /a $saved_entry",    "/a: 0"),
        ("if [ -f /none -o ! -d /grub ]; then linux /a; else linux /b; fi",        "/b: "),
        ("for i in 1 2 3; do set all=\"$all$i\"; done; linux /a $all",             "/a: 123"),
        ("while [ \"$n\" != xxx ]; do set n=x$n; done; linux /a $n",               "/a: xxx"),
        ("until [ \"$n\" = xx ]; do set n=x$n; done; linux /a $n",                 "/a: xx"),
        ("while true; do true; done; linux /a",                                    "nothing"),
        ("function f {\n linux /a $1 $2\n}\nf x y",                                "/a: x y"),
        ("function f { f; }; f; linux /a",                                         "/a: "),
        ("search --no-floppy --fs-uuid --set=r 1234-ABCD; linux ($r)/a",           "/a: "),
        ("if search --label none; then linux /a; else linux /b; fi",               "/b: "),
        ("search --file /grub/grubenv --set r; linux ($root)/a",                   "/a: "),
        ("configfile /grub/grub.cfg",                                              "/gone: "),
        ("source /none; linux /a",                                                 "/a: "),
        ("blscfg",                                                                 "/gone: "),
        ("load_video; unknown x; linux /a",                                        "/a: "),
    ] {
        assert_eq!(boots(script), boot, "{script}");
    }
}

#[test]
fn the_default_is_found_by_number_title_and_id() {
    let menu = "menuentry One --id one { linux /1 }\n\
                submenu 'More of it' --id more {\n menuentry 'A b' { linux /2a }\n\
                menuentry Two --id two { linux /2b }\n}\n\
                menuentry 'Three'\n{\n linux /3\n}\n";
    for (default, kernel) in [
        ("0", "/1"),
        ("2", "/3"),
        ("Three", "/3"),
        ("one", "/1"),
        ("1>1", "/2b"),
        ("more>two", "/2b"),
        ("More of it>A b", "/2a"),
        ("1", "/2a"),
        ("none", "/1"),
        ("9", "/1"),
        ("", "/1"),
    ] {
        let script = format!("set default='{default}'\n{menu}");
        assert_eq!(boots(&script), format!("{kernel}: "), "{default}");
    }
}

#[test]
fn what_one_entry_sets_is_gone_in_the_next() {
    let menu = "menuentry a { set x=1; false }\nmenuentry b { linux /b $x }";
    assert_eq!(boots(menu), "/b: ");
}

#[test]
#[rustfmt::skip] // keeps the columns
fn conditions_are_judged_in_words() {
    for (words, truth) in [
        ("a",                  true),
        ("",                   false),
        ("! a",                false),
        ("-n a",               true),
        ("-z a",               false),
        ("a = b -o a = a",     true),
        ("a = a -a a = b",     false),
        ("a != b",             true),
        ("3 -gt 2 -a 2 -lt 3", true),
        ("x -gt 2",            false),
        ("-e here",            true),
        ("! ! -e there",       false),
        ("!",                  true),
    ] {
        let list: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let mut ask = |_: Ask, path: &str| path == "here";
        assert_eq!(judge(&list, &mut ask), truth, "{words}");
    }
}

//! A start cannot open or read a file that is whole: the disk does not answer, or there are too many open files.
//!
//! Counted are the calls of the check before the engine starts, and those of the engine. Tried are some of them;
//! FAULT_CALLS=all tries each.

use std::collections::BTreeMap;

use super::change::copy_files;
use super::load::Written;
use super::shim::{Fault, calls, preload};
use super::{last_line, prepare};
use crate::harness::*;

/// Faults that are tried without FAULT_CALLS.
const USUAL: usize = 16;

fn launch(server: &mut Server, fault: Fault) {
    let log = server.path().join("calls");
    // Of the start before.
    let _ = std::fs::remove_file(&log);
    server.launch_with(|command, dir| {
        preload(command, dir, &log, fault);
        command.env("FAULT_READS", "1");
    });
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_told_as_damaged() {
    let mut server = prepare();
    let mut written = Written::default();
    server.launch();
    server.ready().await;
    written.write(&mut server).await;
    server.kill9();
    let (dir, base) = (server.storage_dir(), server.path().join("base"));
    copy_files(&dir, &base);
    launch(&mut server, Fault { at: 0, errno: 0 });
    server.ready().await;
    server.kill9();
    let counted = calls(&server.path().join("calls"));
    let faults = counted.iter().enumerate().flat_map(|(at, call)| {
        let errors: &[i32] = match call.split_once(' ') {
            Some(("open", _)) => &[libc::EIO, libc::EMFILE],
            Some(("read", _)) => &[libc::EIO],
            _ => &[],
        };
        errors.iter().map(move |errno| Fault {
            at: at + 1,
            errno: *errno,
        })
    });
    let mut faults: Vec<Fault> = faults.collect();
    let count = faults.len();
    if std::env::var("FAULT_CALLS").is_err() {
        faults = faults.into_iter().step_by(count.div_ceil(USUAL)).collect();
    }
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for fault in &faults {
        std::fs::remove_dir_all(&dir).unwrap();
        copy_files(&base, &dir);
        launch(&mut server, *fault);
        let outcome = if server.is_ready().await {
            server.kill9();
            "went on".to_owned()
        } else {
            let code = server.process().exited().unwrap().code();
            let last = last_line(&server);
            println!("{fault:?}: {code:?}: {last}");
            let expected = match fault.errno {
                libc::EMFILE => (&[7][..], "LimitNOFILE"),
                _ => (&[3, 7][..], "dmesg"),
            };
            assert!(
                code.is_some_and(|code| expected.0.contains(&code)),
                "{fault:?}: {code:?}: {last}"
            );
            assert!(last.contains(expected.1), "{fault:?}: {last}");
            assert!(!last.contains("is damaged"), "{fault:?}: {last}");
            server.forget();
            format!("ended with {}", code.unwrap())
        };
        server.restart().await;
        written.check(&server).await;
        server.kill9();
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{} of {count} faults: {outcomes:?}", faults.len());
    assert!(outcomes.contains_key("ended with 3") && outcomes.contains_key("ended with 7"));
}

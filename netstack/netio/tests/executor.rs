//! The executor: wakes by descriptors, timers and threads, and bounds.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use hyper::rt::Timer;
use netio::executor::{Cancelled, Either, Executor, HyperTimer, TASKS_MAX, race, yield_now};

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let order = Rc::new(RefCell::new(Vec::new()));
    for ms in [60, 20, 40] {
        let (sleep, order) = (handle.sleep(ms), Rc::clone(&order));
        let task = async move {
            sleep.await;
            order.borrow_mut().push(ms);
        };
        handle.spawn_detached(task).unwrap();
    }
    executor.block_on(handle.sleep(100));
    assert_eq!(*order.borrow(), [20, 40, 60]);
}

/// Goal: a day of sleep takes no time; descriptors are answered before time passes; the same tasks
/// see the same times.
#[test]
fn virtual_time_passes_when_all_wait() {
    let tell = || {
        let executor = Executor::in_virtual_time(1_000).unwrap();
        let handle = executor.handle();
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (late, clock) = (Rc::clone(&seen), handle.clone());
        let writer = async move {
            clock.sleep(86_400_000).await;
            late.borrow_mut().push(("wrote", clock.now_ms()));
            far.write_all(b"x").unwrap();
            clock.sleep(5).await;
            late.borrow_mut().push(("woke", clock.now_ms()));
        };
        let writer = handle.spawn(writer).unwrap();
        executor.block_on(async {
            assert!(handle.timeout(1_000, handle.readable(&near)).await.is_err());
            seen.borrow_mut().push(("gave up", handle.now_ms()));
            handle.readable(&near).await.unwrap();
            seen.borrow_mut().push(("read", handle.now_ms()));
            writer.await.unwrap();
        });
        seen.take()
    };
    let seen = tell();
    let expected = [
        ("gave up", 2_000),
        ("wrote", 86_401_000),
        ("read", 86_401_000),
        ("woke", 86_401_005),
    ];
    assert_eq!(seen, expected);
    assert_eq!(seen, tell());
}

#[test]
fn a_descriptor_wakes_its_reader_and_its_writer() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (mut near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    executor.block_on(async {
        while near.write(&[0; 65536]).is_ok() {} // full: not writable
        let both = race(handle.readable(&near), handle.writable(&near));
        assert!(handle.timeout(50, both).await.is_err(), "neither is ready");
        while far.read(&mut [0; 65536]).is_ok() {}
        handle
            .timeout(1000, handle.writable(&near))
            .await
            .unwrap()
            .unwrap();
        far.write_all(b"x").unwrap();
        handle
            .timeout(1000, handle.readable(&near))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
        drop(far);
        handle
            .timeout(1000, handle.readable(&near))
            .await
            .unwrap()
            .unwrap();
    });
}

#[test]
fn a_reused_descriptor_number_is_a_new_descriptor() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    executor.block_on(async {
        for _ in 0..50 {
            let (near, mut far) = UnixStream::pair().unwrap();
            let waiting = handle.timeout(1, handle.readable(&near)).await;
            assert!(waiting.is_err(), "nothing to read yet");
            far.write_all(b"x").unwrap();
            handle
                .timeout(1000, handle.readable(&near))
                .await
                .unwrap()
                .unwrap();
        }
    });
}

#[test]
fn a_waker_works_from_another_thread() {
    let executor = Executor::new().unwrap();
    let mut thread = None;
    executor.block_on(std::future::poll_fn(|cx| {
        if thread.is_some() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        thread = Some(thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            waker.wake();
        }));
        Poll::Pending
    }));
    thread.unwrap().join().unwrap();
}

#[test]
fn a_task_gives_its_value_or_tells_that_it_was_stopped() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let value = handle.spawn(async { 7 }).unwrap();
    assert_eq!(executor.block_on(value), Ok(7));
    let endless = handle.spawn(std::future::pending::<()>()).unwrap();
    endless.abort();
    assert!(endless.is_finished());
    assert_eq!(executor.block_on(endless), Err(Cancelled));
    assert_eq!(handle.counters().tasks, 0);
}

#[test]
fn tasks_beyond_the_maximum_are_refused_and_counted() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    for _ in 0..TASKS_MAX {
        handle.spawn_detached(yield_now()).unwrap();
    }
    handle.spawn_detached(yield_now()).unwrap_err();
    assert_eq!(handle.counters().spawns_refused, 1);
    executor.block_on(async {
        yield_now().await;
        yield_now().await;
    });
    assert_eq!(handle.counters().tasks, 0);
    handle.spawn_detached(yield_now()).unwrap();
}

#[test]
fn a_busy_task_does_not_starve_a_descriptor_or_a_timer() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let busy = async {
        loop {
            yield_now().await;
        }
    };
    handle.spawn_detached(busy).unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    executor.block_on(async {
        handle.readable(&near).await.unwrap();
        handle.sleep(10).await;
    });
}

#[test]
fn dropping_the_executor_drops_its_tasks() {
    let held = Rc::new(());
    let executor = Executor::new().unwrap();
    let (handle, inside) = (executor.handle(), Rc::clone(&held));
    let task = async move {
        let _inside = inside;
        handle.sleep(1_000_000).await;
    };
    executor.handle().spawn_detached(task).unwrap();
    executor.block_on(yield_now());
    drop(executor);
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn hypers_timer_sleeps_on_the_same_executor() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let started_ms = handle.now_ms();
    let raced = executor.block_on(race(
        HyperTimer.sleep(Duration::from_millis(30)),
        HyperTimer.sleep(Duration::from_millis(5_000)),
    ));
    assert_eq!(raced, Either::Left(()));
    assert!((30..1000).contains(&(handle.now_ms() - started_ms)));
}

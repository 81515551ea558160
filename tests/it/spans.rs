//! What is logged inside `f` belongs to the caller's span and goes to the caller's subscriber.

#![cfg(feature = "tracing")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use pool_map::{Pool, PoolIterator, TraceLevel, traced};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Id, Subscriber, info, info_span, subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// One event: its message, its spans from the root on, and the thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    spans: String,
    message: String,
    thread: String,
}

/// What was logged.
#[derive(Clone, Default)]
struct Book {
    lines: Arc<Mutex<Vec<Line>>>,
    entered: Arc<AtomicUsize>,
}

impl Book {
    /// Logs what `f` does into this book.
    fn write<R>(&self, level: LevelFilter, f: impl FnOnce() -> R) -> R {
        let subscriber = tracing_subscriber::registry().with(self.clone().with_filter(level));
        subscriber::with_default(subscriber, f)
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = self.lines.lock().expect("no panic in here").clone();
        lines.sort();
        lines
    }

    /// The spans of all events, without repetition.
    fn spans(&self) -> BTreeSet<String> {
        self.lines().into_iter().map(|line| line.spans).collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Book {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let names = context.event_scope(event).into_iter().flat_map(Scope::from_root);
        let spans: Vec<_> = names.map(|span| span.name()).collect();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        let line = Line { spans: spans.join("/"), message: message.0, thread };
        self.lines.lock().expect("no panic in here").push(line);
    }

    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        self.entered.fetch_add(1, Ordering::Relaxed);
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[test]
fn events_lie_in_the_callers_span_on_every_worker() {
    let pool = Pool::builder().threads(4).name("Spans").build().expect("threads");
    let all = Barrier::new(4);
    let work = |x: u32| {
        all.wait();
        info!("item {x}");
    };
    let book = Book::default();
    book.write(LevelFilter::INFO, || {
        info_span!("outer").in_scope(|| (0..8).pool_map(&pool, work).chunk_size(1).for_each(drop));
    });
    let lines = book.lines();
    assert_eq!(lines.len(), 8);
    assert_eq!(book.spans(), BTreeSet::from(["outer".to_owned()]));
    let threads: BTreeSet<_> = lines.iter().map(|line| line.thread.clone()).collect();
    assert_eq!(threads, pool.worker_names().into_iter().collect());
}

#[test]
fn the_span_is_the_one_of_the_call_not_of_the_first_result() {
    let book = Book::default();
    book.write(LevelFilter::INFO, || {
        let results = info_span!("call").in_scope(|| (0..4).pool_map(2, |x: u32| info!("item {x}")));
        info_span!("loop").in_scope(|| for () in results {});
    });
    assert_eq!(book.spans(), BTreeSet::from(["call".to_owned()]));
}

#[test]
fn nested_calls_and_panics_leave_the_right_span() {
    let pool = Pool::new(3).expect("threads");
    let inner = |x: u32| {
        info!("inner");
        assert_ne!(x % 3, 1, "boom");
    };
    let outer = |x: u32| {
        info!("before");
        let span = info_span!("nested");
        let results = span.in_scope(|| (0..3).pool_map(&pool, |y| inner(x + y)).trace(TraceLevel::Off));
        let outcome = catch_unwind(AssertUnwindSafe(|| results.for_each(drop)));
        assert!(outcome.is_err(), "one of three panics");
        info!("after");
        let caught: Vec<_> = (0..3).pool_map(2, inner).catch_panics().collect();
        assert!(caught[1].is_err());
        assert_ne!(x, 2, "boom");
    };
    let book = Book::default();
    book.write(LevelFilter::INFO, || {
        let span = info_span!("outer");
        let results: Vec<_> =
            span.in_scope(|| (0..30).pool_map(&pool, outer).trace(TraceLevel::Off).catch_panics().collect());
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
        info!("end");
    });
    let at = |message: &str| -> BTreeSet<String> {
        book.lines().into_iter().filter(|line| line.message == message).map(|line| line.spans).collect()
    };
    let set = |spans: &[&str]| spans.iter().map(|&span| span.to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(at("before"), set(&["outer"]));
    assert_eq!(at("after"), set(&["outer"]));
    assert_eq!(at("inner"), set(&["outer", "outer/nested"]));
    assert_eq!(at("end"), set(&[""]));
}

#[test]
fn a_worker_is_left_as_it_was() {
    let pool = Pool::new(1).expect("a thread");
    let (first, second) = (Book::default(), Book::default());
    first.write(LevelFilter::INFO, || {
        let span = info_span!("first");
        let results = span.in_scope(|| (0..3).pool_map(&pool, |x: u32| assert_ne!(x, 1)).trace(TraceLevel::Off));
        catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 1 panics");
    });
    pool.install(|| info!("nobody listens"));
    pool.install(|| second.write(LevelFilter::INFO, || info!("no span")));
    assert_eq!(first.lines(), []);
    assert_eq!(second.spans(), BTreeSet::from([String::new()]));
}

#[test]
fn calls_with_subscribers_of_their_own_share_a_pool() {
    let pool = Pool::new(2).expect("threads");
    let books = [Book::default(), Book::default()];
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for book in &books {
            let (pool, both) = (&pool, &both);
            scope.spawn(move || {
                let call = || {
                    both.wait();
                    (0..200).pool_map(pool, |_: u32| info!("item")).chunk_size(1).for_each(drop);
                };
                book.write(LevelFilter::INFO, || info_span!("own").in_scope(call));
            });
        }
    });
    for book in books {
        assert_eq!(book.lines().len(), 200);
        assert_eq!(book.spans(), BTreeSet::from(["own".to_owned()]));
    }
}

#[test]
fn without_a_span_there_is_none() {
    let book = Book::default();
    book.write(LevelFilter::INFO, || (0..4).pool_map(2, |_: u32| info!("item")).for_each(drop));
    assert_eq!(book.spans(), BTreeSet::from([String::new()]));
    assert_eq!(book.lines().len(), 4);
}

#[test]
fn items_have_spans_where_the_call_is_named_and_everything_is_wanted() {
    let cases = [
        (Some("parse"), LevelFilter::TRACE, "outer/item"),
        (Some("parse"), LevelFilter::DEBUG, "outer"),
        (None, LevelFilter::TRACE, "outer"),
    ];
    for (pool, (name, level, want)) in
        [Pool::new(2).expect("threads"), Pool::inline()].iter().flat_map(|pool| cases.map(|case| (pool, case)))
    {
        let book = Book::default();
        book.write(level, || {
            let call = info_span!("outer").in_scope(|| (0..5).pool_map(pool, |_: u32| info!("item")));
            match name {
                Some(name) => call.named(name).for_each(drop),
                None => call.for_each(drop),
            }
        });
        assert_eq!(book.spans(), BTreeSet::from([want.to_owned()]), "{name:?} {level}");
        assert_eq!(book.lines().len(), 5);
    }
}

#[test]
fn items_of_streams_have_spans_too() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let book = Book::default();
        book.write(LevelFilter::TRACE, || {
            let call = info_span!("outer").in_scope(|| (0..5).pool_imap(&pool, |_: u32| info!("item")));
            call.named("parse").for_each(drop);
            info_span!("outer").in_scope(|| {
                pool_map::scope(&pool, |s| s.imap(0..5, |_: u32| info!("item")).named("parse").for_each(drop));
            });
        });
        assert_eq!(book.spans(), BTreeSet::from(["outer/item".to_owned()]), "{pool:?}");
        assert_eq!(book.lines().len(), 10);
    }
}

#[test]
fn the_span_is_entered_once_for_a_chunk() {
    let pool = Pool::new(1).expect("a thread");
    let book = Book::default();
    book.write(LevelFilter::INFO, || {
        let call = info_span!("outer").in_scope(|| (0..10).pool_map(&pool, |_: u32| info!("item")));
        assert_eq!(book.entered.swap(0, Ordering::Relaxed), 1, "by us");
        assert_eq!(call.chunk_size(10).catch_panics().flatten().count(), 10);
    });
    assert_eq!(book.entered.load(Ordering::Relaxed), 1);
}

#[test]
fn traced_keeps_the_span_of_its_thread() {
    let book = Book::default();
    book.write(LevelFilter::INFO, || {
        info_span!("outer").in_scope(|| {
            traced(|| info!("in traced"));
            traced(|| (0..2).pool_map(2, |_: u32| info!("below traced")).for_each(drop));
        });
    });
    assert_eq!(book.lines().len(), 3);
    assert_eq!(book.spans(), BTreeSet::from(["outer".to_owned()]));
}

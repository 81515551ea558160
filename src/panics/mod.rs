//! The life of a panic, from where it is raised to where it is raised again.
//!
//! 1. [`hook`]: while a thread runs a job, the panic hook writes down what exists only before the stack unwinds, as a
//!    [`sighting`]: the place, the payload's text, and the [`stack`], which is not resolved yet; that saves milliseconds. The
//!    hook prints nothing unless the process is about to abort.
//! 2. [`job`]: the panic becomes an event of the job that the thread runs, next to the output of calls that were made
//!    inside that job.
//! 3. [`unclaimed`]: a worker that waits inside rayon may run a part of another item, whose job gets the panic. So sightings
//!    on workers are also kept for the whole process, until the job that gets the payload claims its own.
//! 4. [`catch`](mod@catch): the job's closure runs inside of a catch. When it has ended, the record that belongs to the
//!    payload is found; the other events become lines about panics that went no further. Where it is not certain that they
//!    did not, the line waits among the [`orphans`] of the call.
//! 5. [`record`]: what is known of the panic, and its text.
//! 6. [`task_panic`]: the record and the payload together are a [`TaskPanic`], which travels to the caller as a value.
//! 7. [`output`]: the caller prints the whole block, which is when the stack is resolved, and then resumes the panic.
//!    Lines about other panics are printed before it. Workers leave all of this to the caller, as long as there is one.
//!
//! [`contain`](mod@contain) and [`mention`](mod@mention) are for panics that are not raised again: those of destructors
//! and observers, and those that nobody gets to. [`call`] holds what the jobs of one call share; [`text`] the levels and
//! the wording; [`span`] carries the caller's span to the workers; [`trace_sink`] says where traces go, and [`logger`] hands
//! them to the program's logger.
//! [`traced`](mod@traced) offers all of it to threads that are no workers.

mod call;
mod catch;
mod contain;
mod hook;
mod job;
mod logger;
mod mention;
mod orphans;
mod output;
mod record;
mod sighting;
mod span;
mod stack;
mod task_panic;
pub(crate) mod text;
mod trace_sink;
mod traced;
mod unclaimed;

pub(crate) use self::call::Call;
pub(crate) use self::catch::{JobEnd, run_item, run_job, stop};
pub(crate) use self::contain::{contain, contain_all, keep_in};
pub(crate) use self::mention::{mention, mention_there};
pub(crate) use self::output::{emit, emit_aside, emit_raw};
pub use self::record::PanicKind;
pub(crate) use self::record::UNKNOWN_ITEM;
pub use self::task_panic::TaskPanic;
pub(crate) use self::text::LineKind;
pub(crate) use self::trace_sink::TraceSink;
pub use self::traced::traced;
pub(crate) use crate::base::unwind::{Payload, catch, resume};

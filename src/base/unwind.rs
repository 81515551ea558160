//! The one place that catches panics and raises them again, and the text of what they carry.

use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

thread_local! {
    /// Set while this thread does something of ours whose panic is nobody's business.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic, which is reported by whichever hook there is.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Raises a panic again that was reported already.
pub(crate) fn resume(payload: Payload) -> ! {
    resume_unwind(payload)
}

/// Drops a payload. Its destructor may panic, with a payload whose destructor panics; the second one is leaked.
pub(crate) fn drop_payload(payload: Payload) {
    if let Err(second) = catch(|| drop(payload)) {
        mem::forget(second);
    }
}

/// Runs something of ours whose panic matters to nobody, such as writing to a closed standard error.
pub(crate) fn quietly<R>(f: impl FnOnce() -> R) -> Option<R> {
    let before = QUIET.try_with(|quiet| quiet.replace(true)).unwrap_or(false);
    let result = catch(f).ok();
    let _ = QUIET.try_with(|quiet| quiet.set(before));
    result
}

/// Whether this thread is inside [`quietly`].
pub(crate) fn is_quiet() -> bool {
    QUIET.try_with(Cell::get).unwrap_or(false)
}

/// Where the text of a payload lies, if the payload owns it.
pub(crate) fn text_address(payload: &(dyn Any + Send)) -> Option<usize> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<Box<str>>().map(AsRef::as_ref));
    let text = text.or_else(|| match payload.downcast_ref::<Cow<'static, str>>() {
        Some(Cow::Owned(text)) => Some(text.as_str()),
        _ => None,
    });
    text.filter(|text| !text.is_empty()).map(|text| text.as_ptr() as usize)
}

/// The text of a payload, as far as the usual types go.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.or_else(|| payload.downcast_ref::<Cow<'static, str>>().map(AsRef::as_ref));
    let text = text.or_else(|| payload.downcast_ref::<Box<str>>().map(AsRef::as_ref));
    text.unwrap_or("non-string panic payload")
}

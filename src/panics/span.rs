//! The caller's span, carried to the workers: the only file that names `tracing`.
//!
//! A span is current on one thread, and so is a subscriber set with `with_default`. Whoever moves work to another thread has to
//! take both along, or what is logged there belongs to nobody. Without the feature, nothing is taken along and nothing costs.

/// What was current on the thread that made a call.
#[derive(Clone, Debug)]
pub(crate) struct TraceContext {
    /// `None` where nobody listens.
    #[cfg(feature = "tracing")]
    current: Option<(tracing::Dispatch, tracing::Span)>,
}

#[cfg(feature = "tracing")]
impl TraceContext {
    pub(crate) fn here() -> Self {
        use tracing::dispatcher::get_default;
        use tracing::subscriber::NoSubscriber;

        let dispatch = get_default(|dispatch| (!dispatch.is::<NoSubscriber>()).then(|| dispatch.clone()));
        // Not in the closure above, where the subscriber does not answer.
        let current = dispatch.map(|dispatch| (dispatch, tracing::Span::current()));
        TraceContext { current }
    }

    /// For what does not leave its thread.
    pub(crate) fn none() -> Self {
        TraceContext { current: None }
    }

    /// Runs `f` as if it were called where this was taken.
    pub(crate) fn around<R>(&self, f: impl FnOnce() -> R) -> R {
        match &self.current {
            Some((dispatch, span)) => tracing::dispatcher::with_default(dispatch, || span.in_scope(f)),
            None => f(),
        }
    }

    /// Whether each item is to have a span of its own: somebody wants everything, and the call has a name to call them by.
    pub(crate) fn span_items(&self, label: Option<&str>) -> bool {
        let wanted = || tracing::enabled!(target: "pool_map", tracing::Level::TRACE);
        label.is_some() && self.current.as_ref().is_some_and(|(to, _)| tracing::dispatcher::with_default(to, wanted))
    }

    /// Runs one item, in a span of its own where that is wanted.
    pub(crate) fn item<R>(&self, label: Option<&str>, index: u64, f: impl FnOnce() -> R) -> R {
        match label {
            Some(call) if self.current.is_some() => {
                tracing::trace_span!(target: "pool_map", "item", call, index).in_scope(f)
            }
            _ => f(),
        }
    }
}

#[cfg(not(feature = "tracing"))]
#[expect(clippy::unused_self, reason = "there is nothing to it without the feature")]
impl TraceContext {
    pub(crate) fn here() -> Self {
        TraceContext {}
    }

    pub(crate) fn none() -> Self {
        TraceContext {}
    }

    #[inline]
    pub(crate) fn around<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline]
    pub(crate) fn span_items(&self, _: Option<&str>) -> bool {
        false
    }

    #[inline]
    pub(crate) fn item<R>(&self, _: Option<&str>, _: u64, f: impl FnOnce() -> R) -> R {
        f()
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;
    use tracing::level_filters::LevelFilter;
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn items_have_spans_only_where_all_is_wanted_of_a_call_with_a_name() {
        let spans = |level: LevelFilter, label| {
            let here = with_default(tracing_subscriber::registry().with(level), TraceContext::here);
            here.span_items(label)
        };
        assert!(spans(LevelFilter::TRACE, Some("rows")));
        assert!(!spans(LevelFilter::TRACE, None));
        assert!(!spans(LevelFilter::DEBUG, Some("rows")));
        assert!(!TraceContext::none().span_items(Some("rows")));
    }
}

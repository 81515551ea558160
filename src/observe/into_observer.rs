//! [`IntoObserver`]: what can be attached as an observer, and which two of these are the same one.

use super::observer::Observer;
use std::fmt;
use std::sync::Arc;

/// An [`Observer`] to attach: to a call with [`observe`](crate::PoolMap::observe), or to a pool with
/// [`observer`](crate::PoolBuilder::observer).
///
/// | value | kept |
/// |---|---|
/// | `&O`, `&dyn Observer` | borrowed, so the observer has to outlive the call |
/// | `Arc<O>`, `&Arc<O>`, `Arc<dyn Observer>`, `&Arc<dyn Observer>` | a clone of the [`Arc`] |
///
/// Calls of `pool_map`, and streams in a [scope](crate::scope()), end before their iterator is gone, so they can borrow. Other
/// streams and pools may outlive the function that makes them, so they need an [`Arc`].
///
/// This trait is sealed: there are no other types.
///
/// # Examples
///
/// ```
/// use pool_map::{Pool, PoolIterator, Timeline};
/// use std::sync::Arc;
///
/// let timeline = Arc::new(Timeline::new());
/// let pool = Pool::builder().threads(2).observer(&timeline).build()?;
/// let sum: u64 = pool.imap(0..8, |x| x * x).sum();
/// let other: u64 = (0..8).pool_imap(2, |x| x * x).observe(&timeline).sum();
/// assert_eq!((sum, other, timeline.items()), (140, 140, 16));
/// # Ok::<(), pool_map::PoolError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be attached as an observer",
    label = "expected a reference to an `Observer`, or an `Arc` of one",
    note = "an `Arc` is for what outlives this function: pools, and streams outside a scope"
)]
pub trait IntoObserver<'a>: sealed::ToHandle<'a> {}

mod sealed {
    /// The working half of [`IntoObserver`](super::IntoObserver), out of reach for other crates.
    #[expect(unnameable_types, reason = "a sealed trait: nobody else may implement it")]
    pub trait ToHandle<'a> {
        fn to_handle(self) -> super::ObserverHandle<'a>;
    }
}

/// An observer as a call or a pool keeps it.
#[derive(Clone)]
#[expect(unnameable_types, reason = "what a sealed trait deals in")]
pub enum ObserverHandle<'a> {
    Borrowed(&'a dyn Observer),
    Shared(Arc<dyn Observer + 'a>),
}

/// The observer of a pool.
pub(crate) type SharedObserver = ObserverHandle<'static>;

macro_rules! into_observer {
    ($([$($generics:tt)*] $ty:ty, $self:ident => $handle:expr;)*) => {$(
        impl<'a, $($generics)*> IntoObserver<'a> for $ty {}

        impl<'a, $($generics)*> sealed::ToHandle<'a> for $ty {
            fn to_handle($self) -> ObserverHandle<'a> {
                $handle
            }
        }
    )*};
}

into_observer! {
    [O: Observer] &'a O, self => ObserverHandle::Borrowed(self);
    ['o: 'a] &'a (dyn Observer + 'o), self => ObserverHandle::Borrowed(self);
    [O: Observer + 'a] Arc<O>, self => ObserverHandle::Shared(self);
    [O: Observer + 'a] &Arc<O>, self => ObserverHandle::Shared(Arc::<O>::clone(self));
    ['o: 'a] Arc<dyn Observer + 'o>, self => ObserverHandle::Shared(self);
    ['o: 'a] &Arc<dyn Observer + 'o>, self => ObserverHandle::Shared(Arc::<dyn Observer + 'o>::clone(self));
}

impl<'a> ObserverHandle<'a> {
    pub(crate) fn new(observer: impl IntoObserver<'a>) -> Self {
        observer.to_handle()
    }

    pub(super) fn get(&self) -> &dyn Observer {
        match self {
            ObserverHandle::Borrowed(observer) => *observer,
            ObserverHandle::Shared(observer) => &**observer,
        }
    }

    /// Equal for two handles of one observer. `None` if that cannot be told: see [`Identity`].
    pub(super) fn identity(&self) -> Option<Identity> {
        let observer = self.get();
        let is_zero_sized = size_of_val(observer) == 0;
        let address = std::ptr::from_ref(observer).cast::<()>().addr();
        let is_known = !is_zero_sized || matches!(self, ObserverHandle::Shared(_));
        is_known.then_some(Identity { address, is_zero_sized })
    }
}

impl fmt::Debug for ObserverHandle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObserverHandle")
    }
}

/// By what an observer is known while it is attached: its address.
///
/// The address of a value without a size says nothing: others may have the same. That of an [`Arc`] of such a value does, among
/// the likes of it, since each `Arc` has its counters right before the value. So a borrowed observer without a size has no
/// identity, and counts as another one each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    address: usize,
    is_zero_sized: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sized(#[expect(dead_code, reason = "for its size")] u8);
    impl Observer for Sized {}

    struct ZeroSized;
    impl Observer for ZeroSized {}

    fn identity<'a>(observer: impl IntoObserver<'a>) -> Option<Identity> {
        ObserverHandle::new(observer).identity()
    }

    #[test]
    fn an_observer_is_known_by_its_address_however_it_is_attached() {
        let (one, other) = (Arc::new(Sized(1)), Arc::new(Sized(1)));
        let object: Arc<dyn Observer> = Arc::clone(&one) as _;
        let own = identity(&one);
        assert!(own.is_some() && own != identity(&other));
        assert_eq!([identity(&*one), identity(Arc::clone(&one)), identity(&object), identity(&*object)], [own; 4]);
    }

    #[test]
    fn an_observer_without_a_size_is_known_by_its_arc() {
        let (one, other) = (Arc::new(ZeroSized), Arc::new(ZeroSized));
        let own = identity(&one);
        assert!(own.is_some() && own != identity(&other));
        assert_eq!(identity(Arc::clone(&one)), own);
        assert_eq!(identity(&ZeroSized), None);
    }
}

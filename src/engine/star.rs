//! Tuples as arguments: what `pool_starmap` can call.

/// A function of several arguments, called with a tuple: `f(a, b)` for `(a, b)`.
///
/// Implemented for every function and closure with 1 to 12 arguments. [`pool_starmap`](crate::PoolIterator::pool_starmap)
/// requires it. It cannot be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with the items `{Args}` spread out as arguments",
    note = "the items must be tuples of 1 to 12 values, and the function must take those values in that order",
    note = "a closure needs the types of its arguments here; `pool_map(n, |(a, b)| …)` infers them"
)]
pub trait StarFn<Args>: sealed::Sealed<Args> {
    /// What the function returns.
    type Output;

    /// Calls the function with the values of the tuple.
    #[doc(hidden)]
    fn call_star(&self, args: Args) -> Self::Output;
}

mod sealed {
    #[expect(unnameable_types, reason = "a sealed trait: nobody else may implement it")]
    pub trait Sealed<Args> {}
}

macro_rules! star_fn {
    ($($value:ident: $Type:ident),+) => {
        impl<F, R, $($Type),+> sealed::Sealed<($($Type,)+)> for F where F: Fn($($Type),+) -> R {}

        impl<F, R, $($Type),+> StarFn<($($Type,)+)> for F
        where
            F: Fn($($Type),+) -> R,
        {
            type Output = R;

            fn call_star(&self, ($($value,)+): ($($Type,)+)) -> R {
                self($($value),+)
            }
        }
    };
}

star_fn!(a: A);
star_fn!(a: A, b: B);
star_fn!(a: A, b: B, c: C);
star_fn!(a: A, b: B, c: C, d: D);
star_fn!(a: A, b: B, c: C, d: D, e: E);
star_fn!(a: A, b: B, c: C, d: D, e: E, g: G);
star_fn!(a: A, b: B, c: C, d: D, e: E, g: G, h: H);
star_fn!(a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I);
star_fn!(a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I, j: J);
star_fn!(a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I, j: J, k: K);
star_fn!(a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I, j: J, k: K, l: L);
star_fn!(a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I, j: J, k: K, l: L, m: M);

//! What may stand for a pool. What becomes of it is tested in place, since no public call leases yet.

use std::num::NonZeroUsize;
use std::sync::Arc;

use pool_map::{IntoPool, Pool};

fn is_pool(_: impl IntoPool) {}

#[test]
fn numbers_and_pools_stand_for_a_pool() {
    let pool = Pool::inline();
    is_pool(4);
    is_pool(NonZeroUsize::MIN);
    is_pool(&pool);
    let shared = Arc::new(pool.clone());
    is_pool(&shared);
    is_pool(shared);
    is_pool(pool);
    is_pool(Pool::global());
}

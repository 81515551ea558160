//! Rows of a database, read by key on four workers, each with a connection of its own. A connection is `Send` and not `Sync`,
//! and opening one may fail: `pool_map_try_init` makes one for each worker that gets a key.
//!
//! ```console
//! $ cargo run --manifest-path examples/sqlite/Cargo.toml
//! 1000 words, 6500 letters
//! no row: Query returned no rows
//! no database: unable to open database file: /tmp/pool-map-words-4711.db
//! ```

use std::env;
use std::fs;
use std::path::Path;

use pool_map::PoolIterator;
use rusqlite::{Connection, Error, OpenFlags};

/// Makes a database of a thousand words.
fn write(path: &Path) -> Result<(), Error> {
    let mut connection = Connection::open(path)?;
    let insert = connection.transaction()?;
    insert.execute("CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL)", ())?;
    for id in 0..1000 {
        insert.execute("INSERT INTO words VALUES (?1, ?2)", (id, "x".repeat(2 + id % 10)))?;
    }
    insert.commit()
}

/// The words of these rows, in the order of the keys; or the first error in that order.
fn words(path: &Path, keys: impl IntoIterator<Item = i64>) -> Result<Vec<String>, Error> {
    let open = || Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let read = |connection: &mut Connection, key: i64| {
        let mut query = connection.prepare_cached("SELECT word FROM words WHERE id = ?1")?;
        query.query_row([key], |row| row.get(0))
    };
    keys.into_iter().pool_map_try_init(4, open, read).collect()
}

fn main() -> Result<(), Error> {
    let path = env::temp_dir().join(format!("pool-map-words-{}.db", std::process::id()));
    write(&path)?;
    let all = words(&path, 0..1000)?;
    println!("{} words, {} letters", all.len(), all.iter().map(String::len).sum::<usize>());
    if let Err(error) = words(&path, 990..1010) {
        println!("no row: {error}");
    }
    let _ = fs::remove_file(&path);
    if let Err(error) = words(&path, 0..10) {
        println!("no database: {error}");
    }
    Ok(())
}

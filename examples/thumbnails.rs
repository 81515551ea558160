//! `thumbnails OUT_DIR FILE…`: shrinks binary PPM images (P6, 8 bits) until the longer side has at most 160 pixels, and writes
//! them to `OUT_DIR/NAME.ppm`. Each line is printed while the workers are at later images; the lines have the order of the files.
//!
//! ```text
//! cargo run --release --example thumbnails -- small *.ppm
//! ```

use pool_map::{Cores, PoolIterator};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::{array, env, error, io, iter, process};

const LONGEST: usize = 160;

type AnyError = Box<dyn error::Error + Send + Sync>;

struct Thumbnail {
    /// Width and height, before and after.
    from: [usize; 2],
    to: [usize; 2],
    /// What the file of the thumbnail holds.
    ppm: Vec<u8>,
}

/// Width and height, and what follows the header.
fn header(file: &[u8]) -> Option<([usize; 2], &[u8])> {
    let mut bytes = file.strip_prefix(b"P6")?.iter();
    // A comment counts as the end of its line.
    let mut header = iter::from_fn(|| match bytes.next()? {
        b'#' => bytes.find(|byte| b"\r\n".contains(byte)),
        byte => Some(byte),
    });
    header.next().filter(|byte| byte.is_ascii_whitespace())?;
    // Also takes the one white space behind the number.
    let mut number = || {
        let rest = header.by_ref().skip_while(|byte| byte.is_ascii_whitespace());
        rest.take_while(|byte| !byte.is_ascii_whitespace()).try_fold(0_usize, |number, &byte| {
            let digit = char::from(byte).to_digit(10)?;
            number.checked_mul(10)?.checked_add(digit as usize)
        })
    };
    let (sides, maxval) = ([number()?, number()?], number()?);
    // No empty image, and none whose sides overflow when they are scaled.
    let is_fine = maxval == 255 && sides.iter().all(|side| (1..=usize::MAX / LONGEST).contains(side));
    is_fine.then_some((sides, bytes.as_slice()))
}

/// Each pixel of the thumbnail is the average of a square, which may be a pixel wider or higher than the next.
fn shrink(name: &OsString) -> Result<Thumbnail, AnyError> {
    let file = fs::read(name)?;
    let (from, pixels) = header(&file).ok_or("not a binary PPM image of 8 bits")?;
    let [width, height] = from;
    let size = width.checked_mul(height).and_then(|count| count.checked_mul(3));
    let pixels = size.and_then(|size| pixels.get(..size)).ok_or("the image is cut short")?;

    let longest = width.max(height);
    let to = from.map(|side| if longest > LONGEST { (side * LONGEST).div_ceil(longest) } else { side });
    let mut ppm = format!("P6\n{} {}\n255\n", to[0], to[1]).into_bytes();
    let edges = |axis: usize, part: usize| (part * from[axis] / to[axis], (part + 1) * from[axis] / to[axis]);
    for (top, bottom) in (0..to[1]).map(|y| edges(1, y)) {
        for (left, right) in (0..to[0]).map(|x| edges(0, x)) {
            let rows = pixels.chunks_exact(3 * width).take(bottom).skip(top);
            let square = rows.flat_map(|row| row[3 * left..3 * right].chunks_exact(3));
            let sums = square.fold([0; 3], |sums: [u64; 3], pixel| array::from_fn(|i| sums[i] + u64::from(pixel[i])));
            let count = ((right - left) * (bottom - top)) as u64;
            ppm.extend(sums.map(|sum| u8::try_from((sum + count / 2) / count).expect("an average of bytes")));
        }
    }
    Ok(Thumbnail { from, to, ppm })
}

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let (Some(folder), files) = (arguments.next(), arguments) else {
        eprintln!("usage: thumbnails OUT_DIR FILE...");
        process::exit(2);
    };
    let save = |name: &Path, ppm: &[u8]| {
        let mut path = Path::new(&folder).join(name.file_stem().unwrap_or_default());
        path.as_mut_os_string().push(".ppm");
        // Never overwrites a file: neither an image, nor the thumbnail of one with the same name.
        File::create_new(path)?.write_all(ppm)
    };
    fs::create_dir_all(&folder)?;
    let mut status = 0;
    // `for_each` rather than `for`: it writes and prints while the workers go on.
    files.pool_map(Cores, |name| (shrink(&name), name)).for_each(|(thumbnail, name)| {
        let name = Path::new(&name);
        let saved = thumbnail.and_then(|thumbnail| {
            save(name, &thumbnail.ppm)?;
            Ok((thumbnail.from, thumbnail.to))
        });
        match saved {
            Ok(([w, h], [to_w, to_h])) => println!("{}: {w} × {h} -> {to_w} × {to_h}", name.display()),
            Err(why) => {
                eprintln!("thumbnails: {}: {why}", name.display());
                status = 1;
            }
        }
    });
    process::exit(status);
}

//! More than one machine: split one list into shares, and merge the outputs in order.
//!
//! A closure cannot run on another machine, but a program can. So each machine runs the same program on its share of the
//! items, with its own pool. Splitting the list needs no protocol. Taking one result from each share in turn restores
//! the order.
//!
//! # When one machine is not enough
//!
//! Look at a [`Timeline`](crate::Timeline) first. More machines help if all three are true:
//!
//! - The efficiency is near 100 % with one worker per core. If not, [something else](crate::guide::seeing) is slow, and will
//!   still be slow on two machines.
//! - The machines do not share a bottleneck, such as one disk, database or network.
//! - The job takes minutes or more. On a machine with two cores, `mpirun` took half a second to start and end three processes.
//!   Hashing 2000 files of 7 kB there took 0.03 s with one process and two workers, and 0.6 s with three ranks. A
//!   job queue takes longer.
//!
//! At best, `n` machines divide the time by `n`; the machine with the most work decides. A machine with 64 cores may do in an
//! hour what takes two cores 32 hours, and is easier to manage than 32 machines.
//!
//! # Machine k of n
//!
//! Machine `k` takes every `n`-th item, starting with item `k` (counted from 0): `skip(k).step_by(n)` on the source, before
//! `pool_map`. Large items that are neighbours in the list go to different machines. To merge, take one result from each
//! machine in turn until the next machine has none left. Then all are used up, because no share is longer than the one before it.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let share = |k, n| -> Vec<u64> {
//!     let items = (0..10).skip(k).step_by(n);
//!     items.pool_map(2, |x| x * x).collect()
//! };
//! let mut parts = [share(0, 3), share(1, 3), share(2, 3)].map(Vec::into_iter);
//! let joined: Vec<_> = (0..3).cycle().map_while(|k| parts[k].next()).collect();
//! assert_eq!(joined, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
//! ```
//!
//! Every machine iterates over the whole source, so the source must be a fixed list that is the same on all machines, not a
//! directory that others write to.
//!
//! `examples/shard.rs` is such a program: `shard K/N < names` prints a line like that of `sha256sum` for each file in its share.
//! The commands below run it in `bash`, in a directory that contains the program and the list:
//!
//! ```sh
//! cargo build --release --example shard
//! cp target/release/examples/shard .
//! find /usr/share/doc -type f > names
//! ```
//!
//! # Merging lines
//!
//! `paste` takes one line from each file in turn, which works if every item produces exactly one line. So `shard` prints an empty
//! line for a file that it cannot read. `paste` also prints an empty line where one part is a line shorter than the others.
//! Without the empty lines, the output is that of a single machine:
//!
//! ```sh
//! paste -d '\n' part.0 part.1 part.2 | sed '/^$/d'
//! ```
//!
//! Check the exit status of each shard first: if one was killed, its part is also shorter, and `paste` cannot tell. `shard` exits
//! with 0, or with 1 if a file could not be read; any other status means that the part is incomplete. A shell that
//! cannot enter a directory or open `names` exits with 1 too. So the commands below turn a 1 that can only come from
//! `shard` into a 0, by `(./shard … || [ $? -eq 1 ]) < names`. Any status other than 0 then means that the part is
//! incomplete; the same command makes it again.
//!
//! If there are more parts than a process may open files (`ulimit -n`), merge groups of parts first: of 2000 parts, merge parts
//! 0, 2, 4… into one file, parts 1, 3, 5… into another, and then those two.
//!
//! # Processes, here and by ssh
//!
//! ```sh
//! n=3
//! for ((k = 0; k < n; k++)); do
//!     (./shard $k/$n || [ $? -eq 1 ]) < names > part.$k & shards[k]=$!
//! done
//! for ((k = 0; k < n; k++)); do
//!     wait ${shards[k]} || echo "part $k is not whole" >&2
//! done
//! paste -d '\n' $(seq -f part.%g 0 $((n - 1))) | sed '/^$/d' > sums
//! ```
//!
//! On one machine this gains nothing over one process with as many workers. With three machines that have the program and the
//! files in the same place, `ssh` sends the list and returns the part; nothing else is needed:
//!
//! ```sh
//! hosts=(alpha beta gamma) n=3
//! for ((k = 0; k < n; k++)); do
//!     ssh ${hosts[k]} "cd '$PWD' && (./shard $k/$n || [ \$? -eq 1 ])" \
//!         < names > part.$k & shards[k]=$!
//! done
//! for ((k = 0; k < n; k++)); do
//!     wait ${shards[k]} || echo "part $k is not whole" >&2
//! done
//! paste -d '\n' $(seq -f part.%g 0 $((n - 1))) | sed '/^$/d' > sums
//! ```
//!
//! # GNU parallel
//!
//! With more shares than machines, a machine that finishes early takes another share. Run one at a time on each machine (`-j 1`),
//! since each process has its own pool. With `-S alpha,beta,gamma --wd .` they run on those machines, if all of them see
//! this directory:
//!
//! ```sh
//! seq 0 6 | parallel -j 1 --joblog jobs '(./shard {}/7 || [ $? -eq 1 ]) < names > part.{}'
//! awk 'NR > 1 && ($7 || $8) { print "not whole: " $0 }' jobs
//! paste -d '\n' $(seq -f part.%g 0 6) | sed '/^$/d' > sums
//! ```
//!
//! GNU parallel can also split the list, into 250 names per process, and merge the outputs as they arrive (`-k`). For each process
//! its names are the whole list. This needs no files; the exit status of `parallel`, the first in the pipeline, tells
//! whether the output is complete:
//!
//! ```sh
//! parallel -j 2 -k --pipe -N 250 './shard 0/1 --workers 1 || [ $? -eq 1 ]' < names |
//!     sed '/^$/d' > sums
//! [ ${PIPESTATUS[0]} -eq 0 ] || echo 'not whole: sums' >&2
//! ```
//!
//! # Slurm
//!
//! An array of seven jobs; each gets a machine when one is free. `--wait` waits for all of them and exits with the highest of their
//! statuses, so with 0 if every part is complete:
//!
//! ```sh
//! sbatch --wait --array=0-6 --cpus-per-task=16 --output=part.%a --error=errors.%a \
//!     --wrap '(./shard $SLURM_ARRAY_TASK_ID/7 || [ $? -eq 1 ]) < names'
//! paste -d '\n' $(seq -f part.%g 0 6) | sed '/^$/d' > sums
//! ```
//!
//! The command has a literal 7 instead of `$SLURM_ARRAY_TASK_COUNT`, so that `--array=3` makes only part 3 again.
//! Seven tasks of one job start together:
//!
//! ```sh
//! srun --ntasks=7 --cpus-per-task=16 --output=part.%t --error=errors.%t \
//!     sh -c '(./shard $SLURM_PROCID/$SLURM_NTASKS || [ $? -eq 1 ]) < names'
//! paste -d '\n' $(seq -f part.%g 0 6) | sed '/^$/d' > sums
//! ```
//!
//! If Slurm binds the job to its cores, a pool has as many threads as the job has cores: the default number of workers is that of
//! [`available_parallelism`](std::thread::available_parallelism).
//!
//! # Kubernetes
//!
//! An indexed job. An unreadable file is no reason to retry, so status 1 of `shard` counts as success here:
//!
//! ```yaml
//! apiVersion: batch/v1
//! kind: Job
//! metadata:
//!   name: shard
//! spec:
//!   completionMode: Indexed
//!   completions: 7
//!   parallelism: 7
//!   template:
//!     spec:
//!       restartPolicy: Never
//!       containers:
//!         - name: shard
//!           image: registry.example.org/shard # Contains the program and a shell.
//!           workingDir: /work
//!           command: [sh, -c]
//!           args:
//!             - >-
//!               (./shard $JOB_COMPLETION_INDEX/7 || [ $? -eq 1 ])
//!               < names > part.$JOB_COMPLETION_INDEX
//!           volumeMounts:
//!             - name: work
//!               mountPath: /work
//!       volumes:
//!         - name: work
//!           persistentVolumeClaim:
//!             claimName: work # Must allow several machines to write.
//! ```
//!
//! ```sh
//! kubectl apply -f shard.yaml
//! kubectl wait --for=condition=complete --timeout=1h job/shard
//! ```
//!
//! Then run `paste` as above where the volume is mounted.
//!
//! # MPI
//!
//! If you need the results in order while they arrive, the machines have to communicate. `examples/mpi` is a separate crate that
//! does the same job with [`mpi`](https://docs.rs/mpi) and Open MPI. The pool of each rank works ahead on its share, up to
//! a limit; rank 0 takes one result from each in turn and prints it.
//!
//! ```sh
//! mpirun -n 3 --bind-to none mpi-sha256sum names > sums
//! ```
//!
//! `--bind-to none` matters: with few ranks, Open MPI binds each one to a single core, together with its pool. If an item panics,
//! all results before it are printed, then its trace with the rank, and the whole job ends with status 101. If a rank is
//! killed, the job ends too.
//!
//! | | shares as above | MPI |
//! |---|---|---|
//! | results | in files, merged at the end | in order, as they arrive |
//! | a machine fails | its part is made again | the job ends |
//! | machines | may join and leave at any time | start together |
//! | needs | a shell | MPI on all of them |

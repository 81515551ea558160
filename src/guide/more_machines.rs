//! More than one machine: shares of one list, and their outputs put together in order.
//!
//! A closure does not travel to another machine; a program does. So each machine runs the same program on its share of the
//! items, with a pool of its own. Sharing out needs no protocol, and the order is restored by taking one result of each in
//! turn.
//!
//! # When one machine is not enough
//!
//! Look at a [`Timeline`](crate::Timeline) first. More machines help when all three are true:
//!
//! - The efficiency is near 100 % with a worker for each core. If it is not, [something else](crate::guide::seeing) is slow, and will be on
//!   two machines as well.
//! - The machines do not wait for one disk, one database or one network all the same.
//! - It takes minutes at least. `mpirun` took half a second to start and end three processes on one machine of two cores, where
//!   the hashes of 2000 files of 7 kB took one process with two workers 0.03 s, and three ranks 0.6 s. A queue takes longer.
//!
//! `n` machines divide the time by `n` at best, and the one with the most to do decides. A machine of 64 cores may do in an hour what
//! takes two cores a day and eight hours, and is less trouble than 32 machines.
//!
//! # Machine k of n
//!
//! It takes every `n`-th item from the `k`-th on, counted from 0: `skip(k).step_by(n)` on the source, before `pool_map`. Large items
//! that stand together in the list go to different machines. Putting the results together goes round the machines until
//! the one whose turn it is has no more; nothing can be left then, since no share is longer than one before it.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let share = |k, n| (0..10_u64).skip(k).step_by(n).pool_map(2, |x| x * x).collect::<Vec<_>>();
//! let mut parts = [share(0, 3), share(1, 3), share(2, 3)].map(Vec::into_iter);
//! let joined: Vec<_> = (0..3).cycle().map_while(|k| parts[k].next()).collect();
//! assert_eq!(joined, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
//! ```
//!
//! Every machine walks through the whole source, so that had better be a list, and be the same on all of them: not the files of a
//! directory in which others write.
//!
//! `examples/shard.rs` is such a program: `shard K/N < names` prints a line of `sha256sum` for each file of its share. It is what the
//! commands below run, in `bash` and in a directory that has the program and the list:
//!
//! ```sh
//! cargo build --release --example shard
//! cp target/release/examples/shard .
//! find /usr/share/doc -type f > names
//! ```
//!
//! # Putting lines together
//!
//! `paste` takes one line of each file in turn, if every item has made exactly one. So `shard` prints an empty line for a file
//! that cannot be read. A part that is a line shorter than the others makes `paste` print an empty line, too; without those, it
//! is what one machine would have printed:
//!
//! ```sh
//! paste -d '\n' part.0 part.1 part.2 | sed '/^$/d'
//! ```
//!
//! Look at the status of each shard before that: the part of one that was killed is shorter as well, and `paste` cannot know.
//! That of `shard` is 0, or 1 when a file could not be read; with any other the part is not whole. A shell that cannot enter a
//! directory or open `names` gives 1 as well, so the commands below make a 1 that can only be from `shard` a 0, by
//! `(./shard … || [ $? -eq 1 ]) < names`; any other status than 0 then says that the part is not whole. It is made again by the
//! same command. With more parts than a process may have open files (`ulimit -n`), put together groups of parts: of 2000 parts,
//! parts 0, 2, 4… are the first of two, and parts 1, 3, 5… the second.
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
//! On one machine that gains nothing over one process with as many workers. On three, which have the program and the files at
//! the same place, the list goes there and the part comes back by `ssh`, and nothing else is needed:
//!
//! ```sh
//! hosts=(alpha beta gamma) n=3
//! for ((k = 0; k < n; k++)); do
//!     ssh ${hosts[k]} "cd '$PWD' && (./shard $k/$n || [ \$? -eq 1 ])" < names > part.$k & shards[k]=$!
//! done
//! for ((k = 0; k < n; k++)); do
//!     wait ${shards[k]} || echo "part $k is not whole" >&2
//! done
//! paste -d '\n' $(seq -f part.%g 0 $((n - 1))) | sed '/^$/d' > sums
//! ```
//!
//! # GNU parallel
//!
//! With more shares than machines, one that is done early takes another. One at a time on each (`-j 1`), since each has a pool of its
//! own; with `-S alpha,beta,gamma --wd .` they run on those machines, if all of them see this directory:
//!
//! ```sh
//! seq 0 6 | parallel -j 1 --joblog jobs '(./shard {}/7 || [ $? -eq 1 ]) < names > part.{}'
//! awk 'NR > 1 && ($7 || $8) { print "not whole: " $0 }' jobs
//! paste -d '\n' $(seq -f part.%g 0 6) | sed '/^$/d' > sums
//! ```
//!
//! Or GNU parallel does the sharing out, by 250 names a process, and puts the outputs together itself (`-k`) as they come:
//! to each process its names are the whole list. It needs no files; whether it was all is in its own status, the first of the
//! pipeline:
//!
//! ```sh
//! parallel -j 2 -k --pipe -N 250 './shard 0/1 --workers 1 || [ $? -eq 1 ]' < names | sed '/^$/d' > sums
//! [ ${PIPESTATUS[0]} -eq 0 ] || echo 'not whole: sums' >&2
//! ```
//!
//! # Slurm
//!
//! An array of seven jobs, each of which gets a machine when there is one. `--wait` waits for all, with the highest of their
//! statuses, so with 0 if every part is whole:
//!
//! ```sh
//! sbatch --wait --array=0-6 --cpus-per-task=16 --output=part.%a --error=errors.%a \
//!     --wrap '(./shard $SLURM_ARRAY_TASK_ID/7 || [ $? -eq 1 ]) < names'
//! paste -d '\n' $(seq -f part.%g 0 6) | sed '/^$/d' > sums
//! ```
//!
//! The 7 stands there in figures, not as `$SLURM_ARRAY_TASK_COUNT`, so that `--array=3` makes part 3 again and nothing else.
//! Seven tasks of one job, which start together:
//!
//! ```sh
//! srun --ntasks=7 --cpus-per-task=16 --output=part.%t --error=errors.%t \
//!     sh -c '(./shard $SLURM_PROCID/$SLURM_NTASKS || [ $? -eq 1 ]) < names'
//! paste -d '\n' $(seq -f part.%g 0 6) | sed '/^$/d' > sums
//! ```
//!
//! A pool has as many threads as the job has cores, as far as Slurm binds it to them: the default number of workers is what
//! [`available_parallelism`](std::thread::available_parallelism) says.
//!
//! # Kubernetes
//!
//! An indexed job. A file that cannot be read is no reason to do it again, so status 1 of `shard` is a success here:
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
//!           image: registry.example.org/shard # With the program, and a shell.
//!           workingDir: /work
//!           command: [sh, -c]
//!           args:
//!             - (./shard $JOB_COMPLETION_INDEX/7 || [ $? -eq 1 ]) < names > part.$JOB_COMPLETION_INDEX
//!           volumeMounts:
//!             - name: work
//!               mountPath: /work
//!       volumes:
//!         - name: work
//!           persistentVolumeClaim:
//!             claimName: work # Of the kind that several machines can write to.
//! ```
//!
//! ```sh
//! kubectl apply -f shard.yaml
//! kubectl wait --for=condition=complete --timeout=1h job/shard
//! ```
//!
//! and then `paste` as above, where the volume is mounted.
//!
//! # MPI
//!
//! Where the results are wanted in order while they arrive, the machines have to talk to each other. `examples/mpi`, a crate of its own
//! on [`mpi`](https://docs.rs/mpi) and Open MPI, is the same job: the pool of each rank runs ahead on its share, up to a window; rank
//! 0 takes one result of each in turn and prints it.
//!
//! ```sh
//! mpirun -n 3 --bind-to none mpi-sha256sum names > sums
//! ```
//!
//! `--bind-to none` matters: Open MPI binds each of few ranks to one core, and its pool with it. When an item panics, all
//! results before it are printed, then its trace with the rank, and the whole job ends with status 101; when a rank is
//! killed, the job ends, too.
//!
//! | | shares as above | MPI |
//! |---|---|---|
//! | results | in files, put together at the end | in order, as they arrive |
//! | a machine fails | its part is made again | the job ends |
//! | machines | join and leave when they like | start together |
//! | needs | a shell | MPI on all of them |

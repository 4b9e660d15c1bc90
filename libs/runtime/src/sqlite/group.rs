//! Group commit: writers who come at the same time share one transaction and one sync of the disk.
//!
//! In: jobs, each what one writer does. Out: to each its own answer, once what it did is on the disk. Never: a wait for
//! company: whoever comes alone commits alone.
//!
//! Laws, each with a test: a job that fails or panics takes back its own writes and nobody else's; if the commit fails nobody
//! is told that it worked; a writer who goes away harms nobody.
//!
//! Jobs nearly always succeed, so they first run bare: a savepoint around each would cost a third of the speed. If one fails,
//! the transaction is taken back and all of them run again, each in its savepoint.
use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use sqlx::{Executor as _, SqliteConnection};
use tokio::sync::oneshot;

use super::Sqlite;

/// Most jobs of one transaction: the first of them waits for the last.
const LARGEST: usize = 256;

/// Why a transaction was lost, for each who was in it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the transaction of this write failed: {0}")]
struct Lost(Arc<sqlx::Error>);

impl From<sqlx::Error> for Lost {
    fn from(error: sqlx::Error) -> Self {
        Lost(Arc::new(error))
    }
}

impl From<&Lost> for sqlx::Error {
    fn from(lost: &Lost) -> Self {
        sqlx::Error::Io(std::io::Error::other(lost.clone()))
    }
}

/// What one writer wants done.
trait Job: Send {
    /// True if the writer went away.
    fn is_moot(&self) -> bool;
    /// Does it; false if what it wrote is to be taken back. Run again, it forgets what came of it before.
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, bool>;
    /// Tells the writer what came of it, or why nothing did.
    fn tell(self: Box<Self>, committed: Result<(), &Lost>);
}

/// What a writer is told: its job's answer, or its panic.
type Answer<T, E> = Result<Result<T, E>, Box<dyn Any + Send>>;

struct Writer<D, J, T, E> {
    data: D,
    job: J,
    came: Option<Answer<T, E>>,
    answer: oneshot::Sender<Answer<T, E>>,
}

impl<D, J, T, E> Job for Writer<D, J, T, E>
where
    D: Send + Sync,
    J: for<'a> Fn(&'a mut SqliteConnection, &'a D) -> BoxFuture<'a, Result<T, E>> + Send,
    T: Send,
    E: From<sqlx::Error> + Send,
{
    fn is_moot(&self) -> bool {
        self.answer.is_closed()
    }

    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, bool> {
        let Writer { data, job, came, .. } = self;
        // The call itself may panic too.
        let work = AssertUnwindSafe(async move { job(connection, data).await }).catch_unwind();
        Box::pin(async move {
            let ran = work.await;
            let keep = matches!(ran, Ok(Ok(_)));
            *came = Some(ran);
            keep
        })
    }

    fn tell(self: Box<Self>, committed: Result<(), &Lost>) {
        let answer = match (self.came, committed) {
            (Some(Err(panic)), _) => Err(panic),
            (Some(ran), Ok(())) => ran,
            (_, Err(lost)) => Ok(Err(E::from(lost.into()))),
            (None, Ok(())) => Ok(Err(E::from(sqlx::Error::WorkerCrashed))),
        };
        // If nobody waits any more, it is done all the same.
        let _ = self.answer.send(answer);
    }
}

/// Who waits, and whether somebody works.
#[derive(Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    working: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.lock().jobs.len()).finish()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if whoever puts it in has to see to the work.
    fn put(&self, job: Box<dyn Job>) -> bool {
        let mut waiting = self.lock();
        waiting.jobs.push_back(job);
        !std::mem::replace(&mut waiting.working, true)
    }

    /// The next whose writer still waits.
    fn next(&self) -> Option<Box<dyn Job>> {
        let mut waiting = self.lock();
        std::iter::from_fn(|| waiting.jobs.pop_front()).find(|job| !job.is_moot())
    }

    /// True if there is no work left; whoever comes now sees to it again.
    fn rest(&self) -> bool {
        let mut waiting = self.lock();
        waiting.working = !waiting.jobs.is_empty();
        !waiting.working
    }
}

/// If the work ends before its time, by a bug or with the runtime, nobody goes on waiting for it.
struct Shift<'a> {
    queue: &'a Queue,
    over: bool,
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        if !self.over {
            let left = std::mem::take(&mut *self.queue.lock());
            drop(left);
        }
    }
}

impl Sqlite {
    /// Runs a job in a write transaction that it may share with others, and returns when that is on the disk.
    ///
    /// An error of the job takes back what the job wrote; so does a panic, which goes on here. The job passes errors of its
    /// statements on. It waits for nothing but its connection, since all other writers wait for it, and does nothing but
    /// write there, since it may be run twice. If the caller goes away before the job begins, it is not run.
    pub async fn grouped<D, T, E, J>(&self, data: D, job: J) -> Result<T, E>
    where
        D: Send + Sync + 'static,
        J: for<'a> Fn(&'a mut SqliteConnection, &'a D) -> BoxFuture<'a, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<sqlx::Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        if self.queue.put(Box::new(Writer { data, job, came: None, answer })) {
            // A task of its own: the writer who began it may go away while others are in the same transaction.
            tokio::spawn(self.clone().work());
        }
        match answered.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            // The work ended before its time.
            Err(_) => Err(E::from(sqlx::Error::WorkerCrashed)),
        }
    }

    async fn work(self) {
        let mut shift = Shift { queue: &self.queue, over: false };
        while !shift.over {
            if let Some(first) = self.queue.next() {
                let mut jobs = vec![first];
                let ended = self.transaction(&mut jobs).await.map_err(Lost::from);
                for job in jobs {
                    job.tell(ended.as_ref().copied());
                }
            }
            shift.over = self.queue.rest();
        }
    }

    /// One transaction of all who wait now and of those who come while it runs. An error: nothing of it is stored.
    async fn transaction(&self, jobs: &mut Vec<Box<dyn Job>>) -> Result<(), sqlx::Error> {
        let mut transaction = self.write().await?;
        let mut ran = 0;
        while let Some(job) = jobs.get_mut(ran) {
            if !job.run(&mut transaction).await {
                // Fails if SQLite did it already, as it may when the disk is full.
                let _ = transaction.rollback().await;
                // Alone, it took nothing of others with it.
                return if ran == 0 { Ok(()) } else { self.apart(jobs).await };
            }
            ran += 1;
            if jobs.len() < LARGEST {
                jobs.extend(self.queue.next());
            }
        }
        transaction.commit().await
    }

    /// The same jobs again, each so that it can be taken back alone.
    async fn apart(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), sqlx::Error> {
        let mut transaction = self.write().await?;
        for job in jobs {
            transaction.execute("SAVEPOINT job").await?;
            if job.run(&mut transaction).await {
                transaction.execute("RELEASE job").await?;
            } else if let Err(error) = transaction.execute("ROLLBACK TO job; RELEASE job").await {
                // There is no savepoint any more: as when the disk is full.
                return Err(sqlx::Error::Protocol(format!("SQLite took the whole transaction back ({error})")));
            }
        }
        transaction.commit().await
    }
}

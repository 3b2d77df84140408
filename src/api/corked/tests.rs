use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Takes so many bytes per write, 0 for "not now", and counts the writes.
#[derive(Default)]
struct Sink {
    allowances: VecDeque<usize>,
    written: Vec<u8>,
    writes: usize,
    is_shut_down: bool,
}

impl AsyncRead for Sink {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = self
            .allowances
            .pop_front()
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if allowed == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.written.extend_from_slice(&bytes[..allowed]);
        self.writes += 1;
        Poll::Ready(Ok(allowed))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut_down = true;
        Poll::Ready(Ok(()))
    }
}

/// Reads once, as h2 does whenever its task is woken.
async fn read_once(corked: &mut Corked<Sink>) {
    std::future::poll_fn(|context| {
        let mut bytes = [0; 8];
        let read = Pin::new(&mut *corked).poll_read(context, &mut ReadBuf::new(&mut bytes));
        assert!(read.is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn the_first_flush_is_written_and_those_that_follow_at_once_are_collected() {
    let mut corked = Corked::new(Sink::default());
    for _ in 0..5 {
        corked.write_all(b"abc").await.unwrap();
        corked.flush().await.unwrap();
    }
    assert_eq!(corked.stream.written, b"abc");
    tokio::task::yield_now().await;
    read_once(&mut corked).await;
    assert_eq!(corked.stream.written, b"abcabcabcabcabc");
    assert_eq!(corked.stream.writes, 2);
    corked.write_all(b"d").await.unwrap();
    corked.flush().await.unwrap();
    assert_eq!(corked.stream.writes, 3, "the window is over");
}

#[tokio::test]
async fn an_empty_flush_opens_no_window() {
    let mut corked = Corked::new(Sink::default());
    corked.flush().await.unwrap();
    corked.write_all(b"abc").await.unwrap();
    corked.flush().await.unwrap();
    assert_eq!(corked.stream.written, b"abc");
}

#[tokio::test]
async fn shutdown_writes_what_is_collected() {
    let mut corked = Corked::new(Sink::default());
    for _ in 0..2 {
        corked.write_all(b"abc").await.unwrap();
        corked.flush().await.unwrap();
    }
    corked.shutdown().await.unwrap();
    assert_eq!(corked.stream.written, b"abcabc");
    assert!(corked.stream.is_shut_down);
}

#[tokio::test]
async fn a_task_that_only_waits_to_read_still_writes() {
    let (near, mut far) = tokio::io::duplex(1024);
    let task = tokio::spawn(async move {
        let mut corked = Corked::new(near);
        for _ in 0..3 {
            corked.write_all(b"abc").await.unwrap();
            corked.flush().await.unwrap();
        }
        corked.read_u8().await.unwrap()
    });
    let mut received = [0; 9];
    let reading = far.read_exact(&mut received);
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&received, b"abcabcabc");
    far.write_u8(7).await.unwrap();
    assert_eq!(task.await.unwrap(), 7);
}

#[tokio::test]
async fn a_failed_write_is_reported_by_the_next_read() {
    let (near, far) = tokio::io::duplex(1024);
    let mut corked = Corked::new(near);
    corked.write_all(b"a").await.unwrap();
    corked.flush().await.unwrap();
    corked.write_all(b"b").await.unwrap();
    corked.flush().await.unwrap();
    drop(far);
    tokio::task::yield_now().await;
    let error = corked.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Flush,
    Yield,
    Read,
}

proptest! {
    #[test]
    fn every_byte_is_written_once_and_in_order(
        steps in prop::collection::vec(
            prop_oneof![
                4 => prop_oneof![3 => 0usize..300, 1 => 0usize..100_000].prop_map(Step::Write),
                3 => Just(Step::Flush),
                1 => Just(Step::Yield),
                2 => Just(Step::Read),
            ],
            0..40,
        ),
        allowances in prop::collection::vec(prop_oneof![Just(0), 1usize..500, 1usize..100_000], 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut corked = Corked::new(Sink { allowances: allowances.into(), ..Sink::default() });
            let mut expected = Vec::new();
            for step in steps {
                match step {
                    Step::Write(len) => {
                        let bytes: Vec<u8> = (expected.len()..).map(|at| at as u8).take(len).collect();
                        corked.write_all(&bytes).await.unwrap();
                        expected.extend(bytes);
                    }
                    Step::Flush => corked.flush().await.unwrap(),
                    Step::Yield => tokio::task::yield_now().await,
                    Step::Read => read_once(&mut corked).await,
                }
                assert!(expected.starts_with(&corked.stream.written));
                assert!(corked.collected.len() <= COLLECTED_LIMIT_BYTES);
            }
            corked.shutdown().await.unwrap();
            assert_eq!(corked.stream.written, expected);
        });
    }
}

internal import EventLoop
package import Testing

/// Runs each part of a test on a thread of its own: a test that blocks must not hold a thread of Swift's pool, on which
/// the code under test counts.
package struct OwnThread: TestTrait, SuiteTrait, TestScoping {
    package var isRecursive: Bool { true }

    package func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await withTaskExecutorPreference(ThreadExecutor()) { try await function() }
    }
}

extension Trait where Self == OwnThread {
    /// The test may block.
    package static var ownThread: OwnThread { OwnThread() }
}

private final class ThreadExecutor: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        do {
            try LoopThread(name: "test") { [self] in
                unsafe job.runSynchronously(on: asUnownedTaskExecutor())
            }.detach()
        } catch {
            preconditionFailure("no thread: \(error)")
        }
    }
}

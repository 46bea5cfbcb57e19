internal import CLinux
internal import Glibc
internal import Synchronization

/// A named thread that the program waits for before it ends.
public final class LoopThread: Sendable {
    private let identifier: pthread_t

    /// Starts the thread; its name shows in `ps` and debuggers (15 bytes at most). All signals are blocked in it:
    /// the control thread reads them from a descriptor.
    public init(name: String, body: @escaping @Sendable () -> Void) throws(SystemError) {
        let start = ThreadStart(name: String(name.prefix(15)), body: body)
        var identifier = pthread_t()
        // Retained here, released by the thread's first line.
        let context = unsafe Unmanaged.passRetained(start).toOpaque()
        let code = unsafe pthread_create(&identifier, nil, threadEntry, context)
        guard code == 0 else {
            unsafe Unmanaged<ThreadStart>.fromOpaque(context).release()
            throw SystemError("pthread_create", code: code)
        }
        self.identifier = identifier
    }

    /// Lets the thread end on its own; `join` must not be called.
    public func detach() { pthread_detach(identifier) }

    /// Waits until the thread's body has returned; called once.
    public func join() { pthread_join(identifier, nil) }
}

private final class ThreadStart: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

private func threadEntry(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context = unsafe context else { return nil }
    let start = unsafe Unmanaged<ThreadStart>.fromOpaque(context).takeRetainedValue()
    _ = unsafe clinux_name_thread(start.name)
    var signals = sigset_t()
    _ = unsafe sigfillset(&signals)
    _ = unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    start.body()
    return nil
}

/// Lets threads wait until one opens it; for start and stop, never on a worker.
@safe public final class Gate: Sendable {
    // Owned: allocated and initialised in init, destroyed in deinit; sem_t may be used from any thread.
    private nonisolated(unsafe) let semaphore: UnsafeMutablePointer<sem_t>

    /// A closed gate.
    public init() {
        unsafe semaphore = .allocate(capacity: 1)
        unsafe sem_init(semaphore, 0, 0)
    }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    /// Lets one waiter pass, now or later.
    public func open() { unsafe sem_post(semaphore) }

    /// Blocks until the gate was opened.
    public func wait() { while unsafe sem_wait(semaphore) != 0 {} }
}

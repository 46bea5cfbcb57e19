internal import Glibc

/// Starts a detached thread for work that blocks; `false` when the system gives none.
///
/// Signals stay with the threads that were made for them: this one has all of them blocked. `stackBytes` is for pools
/// of many threads whose calls need little; `nil` takes the system's size.
public func startDetachedThread(stackBytes: Int? = nil, _ body: @escaping @Sendable () -> Void) -> Bool {
    var attributes = pthread_attr_t()
    // Each pointer below is to a local variable that outlives the call.
    guard unsafe pthread_attr_init(&attributes) == 0 else { return false }
    defer { unsafe pthread_attr_destroy(&attributes) }
    guard unsafe pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED)) == 0 else { return false }
    if let stackBytes {
        guard unsafe pthread_attr_setstacksize(&attributes, stackBytes) == 0 else { return false }
    }
    // Blocked here while the thread is made, so that no signal meets it before it has blocked its own.
    var all = sigset_t()
    var previous = sigset_t()
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, &previous)
    defer { unsafe pthread_sigmask(SIG_SETMASK, &previous, nil) }
    // Retained once for the new thread, which takes that reference over, or gives it back here when there is none.
    let start = unsafe Unmanaged.passRetained(ThreadBody(body))
    var thread = pthread_t()
    guard unsafe pthread_create(&thread, &attributes, runThread, start.toOpaque()) == 0 else {
        unsafe start.release()
        return false
    }
    return true
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

private func runThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    // The reference that was retained for this thread.
    guard let context = unsafe context else { return nil }
    unsafe Unmanaged<ThreadBody>.fromOpaque(context).takeRetainedValue().body()
    return nil
}

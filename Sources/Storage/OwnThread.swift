internal import Glibc

/// Starts a detached thread for work that blocks; `false` when the system gives none.
///
/// Signals stay with the threads that were made for them: this one has all of them blocked.
func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    let box = ThreadBody(body)
    let raw = unsafe Unmanaged.passRetained(box).toOpaque()
    var all = sigset_t()
    var previous = sigset_t()
    var thread = pthread_t()
    // The pointers are to local variables that outlive each call. The box is retained once for the new thread,
    // which takes that reference over, or gives it back below when there is no thread.
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, &previous)
    let code = unsafe pthread_create(
        &thread, nil,
        { raw in
            guard let raw = unsafe raw else { return nil }
            unsafe Unmanaged<ThreadBody>.fromOpaque(raw).takeRetainedValue().body()
            return nil
        }, raw)
    unsafe pthread_sigmask(SIG_SETMASK, &previous, nil)
    if code == 0 {
        pthread_detach(thread)
    } else {
        unsafe Unmanaged<ThreadBody>.fromOpaque(raw).release()
    }
    return code == 0
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

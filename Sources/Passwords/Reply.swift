internal import Synchronization

/// One answer from a thread to a task. The first answer counts; later ones are dropped.
final class Reply<Value: Sendable>: Sendable {
    private enum State {
        case open
        case awaited(CheckedContinuation<Value, Never>)
        case answered(Value)
    }
    private let state = Mutex(State.open)

    /// Whether nobody waits for an answer any more.
    var isAnswered: Bool {
        state.withLock { state in
            if case .answered = state { true } else { false }
        }
    }

    func answer(_ value: Value) {
        let waiting: CheckedContinuation<Value, Never>? = state.withLock { state in
            switch state {
            case .open:
                state = .answered(value)
                return nil
            case .awaited(let continuation):
                state = .answered(value)
                return continuation
            case .answered: return nil
            }
        }
        waiting?.resume(returning: value)
    }

    /// Waits for the answer; to be called once.
    func value() async -> Value {
        await withCheckedContinuation { continuation in
            let early: Value? = state.withLock { state in
                switch state {
                case .answered(let value): return value
                case .open:
                    state = .awaited(continuation)
                    return nil
                case .awaited: preconditionFailure("a reply is awaited twice")
                }
            }
            if let early { continuation.resume(returning: early) }
        }
    }
}

internal import Synchronization

/// One call of `HTTPFetcher.get`, from the caller's task to a thread and back.
final class FetchJob: Sendable {
    typealias Outcome = Result<FetchResponse, FetchError>

    private enum State {
        case new
        case waiting(CheckedContinuation<Outcome, Never>)
        case finished(Outcome)
    }

    private let url: String
    private let caFile: String?
    private let limits: FetchLimits
    private let startedAt = ContinuousClock.now
    private let state = Mutex(State.new)

    init(url: String, caFile: String?, limits: FetchLimits) {
        self.url = url
        self.caFile = caFile
        self.limits = limits
    }

    /// Whether the caller has an answer, or has gone.
    var isFinished: Bool {
        state.withLock { state in if case .finished = state { true } else { false } }
    }

    /// Suspends the caller until `finish`; answers at once when that has been.
    func wait(_ continuation: CheckedContinuation<Outcome, Never>) {
        let outcome: Outcome? = state.withLock { state in
            if case .finished(let outcome) = state { return outcome }
            state = .waiting(continuation)
            return nil
        }
        if let outcome { continuation.resume(returning: outcome) }
    }

    /// The first outcome counts, later ones are dropped.
    func finish(_ outcome: Outcome) {
        let continuation: CheckedContinuation<Outcome, Never>? = state.withLock { state in
            switch state {
            case .finished: return nil
            case .new:
                state = .finished(outcome)
                return nil
            case .waiting(let continuation):
                state = .finished(outcome)
                return continuation
            }
        }
        continuation?.resume(returning: outcome)
    }

    /// Makes the call, on a thread that may block.
    func run(_ options: FetchOptions) {
        do throws(FetchError) {
            finish(.success(try response(options)))
        } catch { finish(.failure(error)) }
    }

    private func response(_ options: FetchOptions) throws(FetchError) -> FetchResponse {
        guard var url = FetchURL(url) else { throw .invalidURL }
        for _ in 0...max(0, limits.redirectsMax) {
            guard !isFinished else { throw .cancelled }
            let remaining = limits.deadline - startedAt.duration(to: .now)
            guard remaining > .zero else { throw .timedOut }
            let transfer = Transfer(url: url, caFile: caFile, limits: limits, isCancelled: { self.isFinished })
            switch try transfer.run(remaining: remaining, options) {
            case .response(let response): return response
            case .redirect(let place):
                guard let next = FetchURL(place), url.permitsRedirect(to: next) else { throw .redirectRefused }
                url = next
            }
        }
        throw .tooManyRedirects
    }
}

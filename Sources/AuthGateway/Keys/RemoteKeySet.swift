internal import JOSE
internal import Outbound
internal import Synchronization

/// The keys that an issuer publishes at a URL (RFC 7517 section 5), fetched away from the workers.
///
/// The last good set stays for as long as no newer one can be had, from the start of the program on: an issuer that
/// is away makes the set degraded, and is never fatal. A well-formed set replaces the last one even where it is
/// smaller or empty, because that is how an issuer withdraws a key.
final class RemoteKeySet: KeySource {
    /// How it stands, for readiness and the log.
    enum State: Equatable, Sendable {
        /// Nothing has been fetched yet.
        case waiting
        /// The last fetch brought keys.
        case current
        /// The last fetch failed or brought no key that can be used; what was there before, if anything, is in use.
        case degraded(reason: String)
    }

    /// Fetches a URL within limits; `HTTPFetcher.get` outside of tests.
    typealias Fetch = @Sendable (String, FetchLimits) async throws(FetchError) -> FetchResponse

    private struct Progress {
        var schedule: RefreshSchedule
        var state = State.waiting
        var fetching: Task<Void, Never>?
    }

    private let url: String
    private let fetch: Fetch
    private let store = VersionedKeyStore()
    private let progress: Mutex<Progress>

    /// Fetches nothing yet; the first `poll` does.
    init(url: String, refreshInterval: Duration, fetch: @escaping Fetch) {
        precondition(refreshInterval > .zero, "a key set cannot be fetched all the time")
        self.url = url
        self.fetch = fetch
        progress = Mutex(Progress(schedule: RefreshSchedule(interval: refreshInterval)))
    }

    /// - Parameter authorities: PEM file of those that may vouch for the URL; `nil` trusts the system's.
    convenience init(url: String, authorities: String?, refreshInterval: Duration, fetcher: HTTPFetcher) {
        self.init(url: url, refreshInterval: refreshInterval) { url, limits throws(FetchError) in
            try await fetcher.get(url, caFile: authorities, limits: limits)
        }
    }

    var version: UInt64 { store.version }
    var current: VersionedKeys { store.current }
    var state: State { progress.withLock { $0.state } }

    /// Begins a fetch if one is due; returns at once. To be called about once a second.
    func poll(at now: Duration) {
        progress.withLock { progress in
            if progress.schedule.beginIfDue(at: now) { progress.fetching = fetchTask() }
        }
    }

    func keyWasMissed(at now: Duration) {
        progress.withLock { progress in
            if progress.schedule.beginAfterMiss(at: now) { progress.fetching = fetchTask() }
        }
    }

    /// Returns when the fetch that is under way, if any, has ended.
    func settle() async { await progress.withLock { $0.fetching }?.value }

    private func fetchTask() -> Task<Void, Never> {
        Task.detached { [self] in
            let outcome = await fetchSet()
            if case .success(let set) = outcome { store.replace(set) }
            progress.withLock { progress in
                progress.schedule.end(isSuccess: outcome.isSuccess)
                progress.state = RemoteKeySet.state(after: outcome)
                progress.fetching = nil
            }
        }
    }

    private func fetchSet() async -> Result<JWKSet, Failure> {
        let response: FetchResponse
        do { response = try await fetch(url, RemoteKeySet.limits) } catch { return .failure(.fetch(error)) }
        guard response.status == 200 else { return .failure(.status(response.status)) }
        do { return .success(try JWKSet(parsing: response.body)) } catch { return .failure(.content(error)) }
    }

    private static func state(after outcome: Result<JWKSet, Failure>) -> State {
        switch outcome {
        case .success(let set) where set.keys.isEmpty: .degraded(reason: "the set holds no key that can be used")
        case .success: .current
        case .failure(let failure): .degraded(reason: failure.description)
        }
    }

    private enum Failure: Error, CustomStringConvertible {
        case fetch(FetchError)
        case status(Int)
        case content(JWKSetError)

        var description: String {
            switch self {
            case .fetch(let error): error.description
            case .status(let status): "status \(status)"
            case .content(let error): error.description
            }
        }
    }

    private static let limits = FetchLimits(bytesMax: JWKSet.bytesMax)
}

extension Result {
    fileprivate var isSuccess: Bool { if case .success = self { true } else { false } }
}

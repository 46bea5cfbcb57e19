internal import CCurl

/// Calls other services by HTTP, away from the workers: on a few threads of its own, with a bound on everything.
///
/// Certificates are always verified. Cookies, credentials and compressed bodies are neither sent nor kept nor
/// understood; a redirect is followed within its host only.
public final class HTTPFetcher: Sendable {
    private let pool: ThreadPool

    /// A fetcher with threads of its own; they exist only while there is work.
    ///
    /// `queueMax` calls may wait for one of `threads`. Proxies named in the environment are used unless
    /// `usesEnvironmentProxy` is false.
    public init(threads: Int = 4, queueMax: Int = 64, usesEnvironmentProxy: Bool = true) {
        precondition(threads > 0 && queueMax >= 0, "a fetcher needs a thread")
        precondition(HTTPFetcher.isReady, "libcurl cannot be used")
        pool = ThreadPool(
            threadsMax: threads, waitingMax: queueMax,
            options: FetchOptions(usesEnvironmentProxy: usesEnvironmentProxy))
    }

    /// Fetches an `http` or `https` URL; every status is a response.
    ///
    /// `caFile` is a PEM file of authorities to trust instead of the system's, read by this call. A cancelled task gets
    /// its error at once; the connection ends within a second.
    public func get(
        _ url: String, caFile: String? = nil, limits: FetchLimits = FetchLimits()
    ) async throws(FetchError) -> FetchResponse {
        let job = FetchJob(url: url, caFile: caFile, limits: limits)
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                job.wait(continuation)
                if !job.isFinished { pool.run(job) }
            }
        } onCancel: {
            // In this order, so that the place is free when the caller goes on.
            pool.forget(job)
            job.finish(.failure(.cancelled))
        }
        return try outcome.get()
    }

    /// Once in the life of the process (curl_global_init(3)).
    private static let isReady = outbound_start() == CURLE_OK
}

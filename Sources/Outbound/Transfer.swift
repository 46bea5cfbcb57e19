internal import CCurl

/// One request and its answer by one libcurl handle, on the thread that calls `run`.
@safe final class Transfer {
    /// How it ended: an answer, or the place that it points to.
    enum Outcome {
        case response(FetchResponse)
        case redirect(String)
    }

    private let url: FetchURL
    /// PEM file of the authorities that are trusted, instead of the system's.
    private let caFile: String?
    private let limits: FetchLimits
    private let isCancelled: @Sendable () -> Bool
    private var body: [UInt8] = []
    private var headBytes = 0
    private var isTooLarge = false

    init(url: FetchURL, caFile: String?, limits: FetchLimits, isCancelled: @escaping @Sendable () -> Bool) {
        self.url = url
        self.caFile = caFile
        self.limits = limits
        self.isCancelled = isCancelled
    }

    /// Blocks until the answer is whole, a limit is passed or the caller has lost interest (seen once a second).
    func run(remaining: Duration, _ options: FetchOptions) throws(FetchError) -> Outcome {
        guard let easy = unsafe curl_easy_init() else { throw .failed("out of memory") }
        // The handle belongs to this call; `self` outlives it, and so do the URL and the list of fields.
        defer { unsafe curl_easy_cleanup(easy) }
        let fields = unsafe curl_slist_append(nil, "Accept: application/json, */*;q=0.1")
        defer { unsafe curl_slist_free_all(fields) }
        guard unsafe configure(easy, fields, remaining: remaining, options) else { throw .failed("cannot set options") }
        let code = unsafe curl_easy_perform(easy)
        if isCancelled() { throw .cancelled }
        if isTooLarge { throw .tooLarge }
        guard code == CURLE_OK else { throw Transfer.error(code) }
        let status = unsafe outbound_status(easy)
        // libcurl names the place of a redirect, made absolute, when it was told not to go there itself. The texts
        // belong to the handle and are copied here.
        if (300..<400).contains(status), let place = unsafe outbound_text(easy, CURLINFO_REDIRECT_URL) {
            guard let place = unsafe String(validatingCString: place) else { throw .redirectRefused }
            return .redirect(place)
        }
        let contentType = unsafe outbound_text(easy, CURLINFO_CONTENT_TYPE).flatMap {
            unsafe String(validatingCString: $0)
        }
        return .response(FetchResponse(status: status, contentType: contentType, body: body))
    }

    /// Whatever protects us is set here even where it is libcurl's default.
    private func configure(
        _ easy: UnsafeMutableRawPointer, _ fields: UnsafeMutablePointer<curl_slist>?, remaining: Duration,
        _ options: FetchOptions
    ) -> Bool {
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        let codes: [CURLcode] = unsafe [
            outbound_set_pointer(easy, CURLOPT_CURLU, UnsafeMutableRawPointer(url.handle)),
            outbound_set_text(easy, CURLOPT_PROTOCOLS_STR, "http,https"),
            outbound_set_number(easy, CURLOPT_FOLLOWLOCATION, 0),
            outbound_set_number(easy, CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1)),
            outbound_set_number(easy, CURLOPT_HTTP09_ALLOWED, 0),
            outbound_set_text(easy, CURLOPT_ACCEPT_ENCODING, nil),
            outbound_set_pointer(easy, CURLOPT_HTTPHEADER, fields),
            outbound_set_text(easy, CURLOPT_USERAGENT, "auth-gateway"),
            outbound_set_number(easy, CURLOPT_NOSIGNAL, 1),
            outbound_set_number(easy, CURLOPT_TIMEOUT_MS, Transfer.milliseconds(remaining)),
            outbound_set_number(
                easy, CURLOPT_CONNECTTIMEOUT_MS, Transfer.milliseconds(min(limits.connectTimeout, remaining))),
            outbound_set_size(easy, CURLOPT_MAXFILESIZE_LARGE, curl_off_t(limits.bytesMax)),
            outbound_set_number(easy, CURLOPT_SSL_VERIFYPEER, 1),
            outbound_set_number(easy, CURLOPT_SSL_VERIFYHOST, 2),
            outbound_set_number(easy, CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2)),
            caFile.map { unsafe outbound_set_text(easy, CURLOPT_CAINFO, $0) } ?? CURLE_OK,
            // A folder of the system's authorities would be trusted beside the file.
            caFile == nil ? CURLE_OK : outbound_set_text(easy, CURLOPT_CAPATH, nil),
            options.usesEnvironmentProxy ? CURLE_OK : outbound_set_text(easy, CURLOPT_PROXY, ""),
            outbound_set_receive(easy, CURLOPT_WRITEFUNCTION, receiveBody),
            outbound_set_pointer(easy, CURLOPT_WRITEDATA, context),
            outbound_set_receive(easy, CURLOPT_HEADERFUNCTION, receiveHead),
            outbound_set_pointer(easy, CURLOPT_HEADERDATA, context),
            outbound_set_progress(easy, reportProgress),
            outbound_set_pointer(easy, CURLOPT_XFERINFODATA, context),
            outbound_set_number(easy, CURLOPT_NOPROGRESS, 0),
        ]
        return codes.allSatisfy { $0 == CURLE_OK }
    }

    /// Takes bytes of the body; `false` ends the transfer.
    fileprivate func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard body.count + bytes.count <= limits.bytesMax else {
            isTooLarge = true
            return false
        }
        unsafe body.append(contentsOf: bytes)
        return true
    }

    /// Counts bytes of the head, those of informational answers and trailers too; `false` ends the transfer.
    fileprivate func countHead(_ count: Int) -> Bool {
        headBytes += count
        isTooLarge = headBytes > Transfer.headBytesMax
        return !isTooLarge
    }

    fileprivate var mayGoOn: Bool { !isCancelled() }

    private static func error(_ code: CURLcode) -> FetchError {
        // A constant text of the library.
        let reason = unsafe curl_easy_strerror(code).map { unsafe String(cString: $0) } ?? "error \(code.rawValue)"
        return switch code {
        case CURLE_OPERATION_TIMEDOUT: .timedOut
        case CURLE_ABORTED_BY_CALLBACK: .cancelled
        case CURLE_FILESIZE_EXCEEDED: .tooLarge
        case CURLE_URL_MALFORMAT: .invalidURL
        case CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .unreachable(reason)
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CIPHER:
            .untrusted(reason)
        default: .failed(reason)
        }
    }

    /// Whole milliseconds, at least one: zero would mean no limit at all.
    private static func milliseconds(_ duration: Duration) -> Int {
        let parts = duration.components
        let most: Int64 = 86_400
        return Int(max(1, min(parts.seconds, most) * 1000 + parts.attoseconds / 1_000_000_000_000_000))
    }

    private static let headBytesMax = 64 << 10
}

/// What all calls of one fetcher have in common.
struct FetchOptions: Sendable {
    /// Whether `https_proxy` and its like are honoured.
    let usesEnvironmentProxy: Bool
}

// The three functions run within `curl_easy_perform`, on the thread of `Transfer.run`, whose `self` is the context.

private func receiveBody(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
    guard let bytes = unsafe bytes, let context = unsafe context else { return 0 }
    let transfer = unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    // `size` is always 1; the bytes are libcurl's until the function returns.
    return unsafe transfer.append(UnsafeRawBufferPointer(start: bytes, count: count)) ? count : refusal(count)
}

private func receiveHead(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
    guard let context = unsafe context else { return 0 }
    let transfer = unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    return transfer.countHead(count) ? count : refusal(count)
}

private func reportProgress(
    _ context: UnsafeMutableRawPointer?, _: curl_off_t, _: curl_off_t, _: curl_off_t, _: curl_off_t
) -> CInt {
    guard let context = unsafe context else { return 1 }
    return unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue().mayGoOn ? 0 : 1
}

/// Any number but the one of the bytes ends the transfer.
private func refusal(_ count: Int) -> Int { count == 0 ? 1 : 0 }

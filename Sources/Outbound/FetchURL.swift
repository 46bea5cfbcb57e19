internal import CCurl

/// An absolute `http` or `https` URL, parsed once by libcurl: what was checked is what is called.
@safe final class FetchURL {
    /// libcurl's parsed form, for `CURLOPT_CURLU`; valid as long as this object lives.
    let handle: OpaquePointer
    /// `http` or `https`.
    let scheme: String
    /// Lower case.
    let host: String
    /// Named or implied.
    let port: String

    /// `nil` for relative ones, other schemes, users, spaces and control bytes, and for `http:///x`, where libcurl
    /// would take the path for the host.
    init?(_ text: String) {
        guard text.utf8.count <= FetchURL.bytesMax, text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }),
            !text.contains(":///")
        else {
            return nil
        }
        guard let handle = unsafe curl_url() else { return nil }
        unsafe self.handle = handle
        // The text is copied by the call. On each early return below, `deinit` does not run: members are missing.
        guard unsafe curl_url_set(handle, CURLUPART_URL, text, UInt32(CURLU_DISALLOW_USER)) == CURLUE_OK,
            let scheme = unsafe FetchURL.part(CURLUPART_SCHEME, of: handle)?.lowercased(),
            FetchURL.schemes.contains(scheme),
            let host = unsafe FetchURL.part(CURLUPART_HOST, of: handle)?.lowercased(), !host.isEmpty,
            let port = unsafe FetchURL.part(CURLUPART_PORT, of: handle)
        else {
            unsafe curl_url_cleanup(handle)
            return nil
        }
        self.scheme = scheme
        self.host = host
        self.port = port
    }

    deinit { unsafe curl_url_cleanup(handle) }

    /// Whether an answer from here may send us there: the same place, or its `https` side.
    func permitsRedirect(to other: FetchURL) -> Bool {
        guard other.host == host else { return false }
        if other.scheme == scheme { return other.port == port }
        return scheme == "http" && other.scheme == "https"
    }

    private static func part(_ part: CURLUPart, of handle: OpaquePointer) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        guard unsafe curl_url_get(handle, part, &text, UInt32(CURLU_DEFAULT_PORT)) == CURLUE_OK else { return nil }
        // libcurl's own copy, ended by NUL; it is freed here, after it was copied.
        guard let text = unsafe text else { return nil }
        defer { unsafe curl_free(text) }
        return unsafe String(validatingCString: text)
    }

    private static let bytesMax = 8192
    private static let schemes: Set<String> = ["http", "https"]
}

/// Whether a person waits for a page, so that a redirect or a page helps more than JSON.
///
/// `Sec-Fetch-Mode: navigate` says so (W3C Fetch Metadata section 2.2); without that field, a GET that accepts
/// `text/html` and carries neither `X-Requested-With` nor `Authorization`. Values are those of the fields; `nil` where
/// the request has none.
func isNavigation(
    secFetchMode: [UInt8]?, accept: [UInt8]?, method: [UInt8], hasRequestedWith: Bool, hasAuthorization: Bool
) -> Bool {
    if let secFetchMode { return secFetchMode == Array("navigate".utf8) }
    guard method == Array("GET".utf8), !hasRequestedWith, !hasAuthorization, let accept else { return false }
    return acceptsHTML(accept)
}

/// Whether `Accept` names `text/html` itself, with a weight above zero (RFC 9110 section 12.5.1).
private func acceptsHTML(_ accept: [UInt8]) -> Bool {
    let ranges = String(decoding: accept, as: UTF8.self).lowercased().split(separator: ",")
    return ranges.contains { range in
        let parts = range.split(separator: ";", omittingEmptySubsequences: false).map { $0.filter { !$0.isWhitespace } }
        return parts.first == "text/html" && !parts.dropFirst().contains(where: isZeroWeight)
    }
}

private func isZeroWeight(_ parameter: String) -> Bool {
    parameter.hasPrefix("q=0") && parameter.dropFirst(2).allSatisfy { $0 == "0" || $0 == "." }
}

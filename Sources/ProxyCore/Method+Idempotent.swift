internal import HTTPModel

extension Method {
    /// Whether sending the request twice does what sending it once does (RFC 9110 section 9.2.2).
    var isIdempotent: Bool {
        switch self {
        case .get, .head, .options, .put, .delete, .trace: true
        case .post, .connect, .patch, .other: false
        }
    }
}

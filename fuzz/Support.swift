/// The input of one run as an array. libFuzzer passes `count` bytes at `start`, valid during the call.
func fuzzInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> [UInt8] {
    Array(UnsafeBufferPointer(start: start, count: count))
}

/// Ends the process, which libFuzzer reports with the input.
func check(_ condition: Bool, _ rule: StaticString) {
    if !condition { fatalError("broken: \(rule)") }
}

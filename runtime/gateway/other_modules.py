"""What SDKs ask that is no naming: answered so that applications that use more than naming go on, and none asks again
and again. What is not here has no handler, which is what SDKs expect of a server that lacks a module."""

from __future__ import annotations

from runtime.gateway.sdk_messages import NOT_IMPLEMENTED, NOT_READABLE, STARTING, SdkAnswer, failed, succeeded

_CONFIG_TEXT = "config module is not supported"
_PEERS_ONLY = frozenset({"ServerLoaderInfoRequest", "ServerReloadRequest", "MemberReportRequest", "DistroDataRequest"})
_ANSWERS = {
    # Whoever listens is told that nothing has changed; any failure would be asked again at once, and for ever.
    "ConfigBatchListenRequest": succeeded("ConfigChangeBatchListenResponse", changedConfigs=[]),
    # By this code SDKs know that there is none of that name.
    "ConfigQueryRequest": failed("ConfigQueryResponse", STARTING, "config data not exist"),
    "ConfigPublishRequest": failed("ConfigPublishResponse", NOT_IMPLEMENTED, _CONFIG_TEXT),
    "ConfigRemoveRequest": failed("ConfigRemoveResponse", NOT_IMPLEMENTED, _CONFIG_TEXT),
    "ConfigFuzzyWatchRequest": failed("ConfigFuzzyWatchResponse", NOT_IMPLEMENTED, _CONFIG_TEXT),
    "LockOperationRequest": failed("LockOperationResponse", NOT_IMPLEMENTED, "lock module is not supported"),
}


def answer_of_other_modules(kind: str) -> SdkAnswer | None:
    """None: nothing handles it."""
    if kind in _PEERS_ONLY:
        return failed(kind.replace("Request", "Response"), NOT_READABLE, f"invoke {kind} from sdk is forbidden")
    return _ANSWERS.get(kind)

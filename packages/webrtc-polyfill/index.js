// WebTorrent imports these three names; undefined ones mean "no WebRTC here" to it.
const wrtc = await import('@roamhq/wrtc').then((module) => module.default, () => ({}))
export const { RTCPeerConnection, RTCSessionDescription, RTCIceCandidate } = wrtc
export default wrtc

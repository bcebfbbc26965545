// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IProxyWallet, ProxyCall} from "./ProxyFactory.sol";
import {ShareReceiver} from "./ShareReceiver.sol";

/// @title A paper proxy wallet (signature type 1): it does what its key asks, directly or through the factory.
/// @notice Our own program, with the calls of Polymarket's proxy wallet. Placed with anvil_setCode where clients derive it;
/// its owner is written into its first storage slot with it. It pays no gas and sends no value.
contract ProxyWallet is IProxyWallet, ShareReceiver {
    error NotOwner();

    address private constant FACTORY = 0xaB45c5A4B0c941a2F231C04C3f49182e1A254052;

    address public owner;

    /// All of the calls or none: one that fails undoes the others, with its reason.
    function proxy(ProxyCall[] calldata calls) external {
        if (msg.sender != owner && msg.sender != FACTORY) revert NotOwner();
        for (uint256 i = 0; i < calls.length; i++) {
            (bool done, bytes memory answer) = calls[i].to.call(calls[i].data);
            if (done) continue;
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}
